"""``python -m emovox`` is the command ``emovox``."""

from __future__ import annotations

import sys

__all__: list[str] = []

if __name__ == "__main__":
    from emovox.cli import main

    sys.exit(main())
