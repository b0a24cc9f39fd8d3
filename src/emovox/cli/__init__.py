"""The command ``emovox``: parse, call the library, print.

One file per command, listed in ``app`` and imported when it is called.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence

from emovox._telemetry import disable_telemetry

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``emovox`` command with ``argv`` (default: the process's own) and return its exit code.

    0: all worked. 1: some recordings failed, each named on stderr. 2: the request itself cannot be
    met (usage, unknown model). 130: interrupted. 141: the reader of a pipe went away.
    """
    disable_telemetry()  # before any library is loaded
    thresholds = gc.get_threshold()
    # Start-up makes many objects and no garbage: collecting as often as usual takes a tenth of it.
    gc.set_threshold(50_000, 20, 20)
    try:
        from emovox.cli.app import run

        return run(argv)
    except KeyboardInterrupt:  # while loading
        return 130
    finally:
        gc.set_threshold(*thresholds)
