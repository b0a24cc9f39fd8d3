"""The documentation as a whole: its index of experiments, its tutorials from top to bottom."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
SEPARATOR = "-- next block --"


def run_tutorial(text: str, folder: Path) -> list[tuple[str, str]]:
    """Run the Python and the commands of a page in a folder with ``examples``.

    Returns:
        What each block printed, and what the page shows of it.
    """
    (folder / "examples").symlink_to(DOCS.parent / "examples")
    tools = folder / "tools"
    tools.mkdir()
    (tools / "emovox").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m emovox "$@"\n')
    (tools / "emovox").chmod(0o755)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "120",
    }

    def run(command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    # All Python runs in one process, then the commands on the files that it wrote.
    blocks = re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", text, re.M | re.S)
    code = f'\nprint("{SEPARATOR}", end="")\n'.join(code for code, _ in blocks)
    printed = run([sys.executable, "-W", "error", "-c", code]).split(SEPARATOR)
    compared = [(ours, shown) for ours, (_, shown) in zip(printed, blocks, strict=True)]
    for console in re.findall(r"^```console\n(.*?)^```", text, re.M | re.S):
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", console, re.M):
            compared.append((run(["bash", "-c", command]), shown))
    return compared


@pytest.mark.parametrize("name", ["transcripts", "live"])
def test_tutorial_prints_what_it_shows(name: str, tmp_path: Path) -> None:
    compared = run_tutorial((DOCS / "tutorials" / f"{name}.md").read_text(encoding="utf-8"), tmp_path)
    assert len(compared) >= 4
    number = re.compile(r"\d+\.\d+|\d+%")
    for printed, shown in compared:
        # Probabilities in 8 bits differ between processors: labels and times have to agree, the rest roughly.
        ours, theirs = (re.sub(r" \(.*|  then.*|[█░]+", "", one) for one in (printed, shown))
        lines = [
            [re.sub(r"(?<= )\d\.\d\d  .*", "#", line) for line in one.splitlines()] for one in (ours, theirs)
        ]
        assert [number.sub("#", line) for line in lines[0]] == [number.sub("#", line) for line in lines[1]]
        values = [
            [float(x.strip("%")) / (100 if "%" in x else 1) for x in number.findall("\n".join(one))]
            for one in lines
        ]
        assert values[0] == pytest.approx(values[1], abs=0.2)


def test_experiments_index_is_current() -> None:
    script = runpy.run_path(str(DOCS.parent / "scripts" / "index_experiments"))
    index = (DOCS / "experiments" / "index.md").read_text(encoding="utf-8")
    assert index == script["make_index"](), "run scripts/index_experiments"
    assert index.count("\n- 2026-") >= 46
