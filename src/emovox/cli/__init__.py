"""How does a person type it?  Parse -> call the library -> show; nothing is computed here.

One file a command, joined in ``app``. What the arguments
name is worked out in ``sources``, how rows look in ``writers``, what a terminal can do in ``terminal``.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence

from emovox._telemetry import keep_quiet

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``emovox`` command with ``argv`` (default: the process's own) and return its exit code.

    0: all worked. 1: some recordings failed, each named on stderr. 2: the request itself cannot be
    met (usage, unknown model). 130: interrupted. 141: the reader of a pipe went away.
    """
    keep_quiet()  # before any of them is loaded, in whatever order
    gc.disable()  # start-up makes many objects and no garbage; commands turn it on again
    try:
        from emovox.cli.app import run

        return run(argv)
    except KeyboardInterrupt:  # while all that is loaded
        return 130
    finally:
        gc.enable()
