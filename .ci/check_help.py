"""Run bare ``emovox``, ``--help`` and every ``COMMAND --help`` in the environment of this Python.

    venv/bin/python .ci/check_help.py

Help must work without any extra: a traceback, an error or an empty answer fails.
"""

from __future__ import annotations

import subprocess
import sys

from typer.main import get_command

from emovox.cli.app import app


def command_names(group: object, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command below a group, groups included."""
    found = []
    for name in group.list_commands(None):
        found.append((*prefix, name))
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            found += command_names(command, (*prefix, name))
    return found


def main() -> int:
    """Print what fails."""
    failed = 0
    names = command_names(get_command(app))
    for argv in [(), ("-h",), *[(*name, "--help") for name in [(), *names]]]:
        done = subprocess.run(
            [sys.executable, "-m", "emovox", *argv], capture_output=True, text=True, check=False
        )
        said = done.stdout + done.stderr
        # Without arguments, typer prints the help and, by its version, exits with 0 or 2.
        if (
            done.returncode not in ((0, 2) if not argv else (0,))
            or "Usage:" not in said
            or "Traceback" in said
        ):
            failed += 1
            print("emovox", *argv, f"exits with {done.returncode}:\n{said[-2000:]}")
    print(f"help of {len(names)} commands, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
