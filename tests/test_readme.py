"""The Python of the documents runs as it is written, in the root of a checkout, and prints what they show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import emovox

ROOT = Path(__file__).parents[1]
URL = "http://127.0.0.1:8000"


def run_snippets(document: str, replaced: str = "", by: str = "", *, warnings: str = "error") -> list[str]:
    """Run the Python of a document in one process, in the root of a checkout; return the lines it prints."""
    text = (ROOT / document).read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S))
    assert not replaced or code.count(replaced) == 1
    done = subprocess.run(
        [sys.executable, "-W", warnings, "-c", code.replace(replaced, by) if replaced else code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" or warnings != "error"
    return done.stdout.splitlines()


def test_python_snippets_run() -> None:
    for name in ("httpx", "fastapi", "uvicorn"):
        pytest.importorskip(name)
    from emovox.server.app import create_app
    from emovox.server.settings import ServerSettings
    from serving import serving

    with serving(create_app(ServerSettings())) as (port, _):
        first, *rest = run_snippets("docs/python.md", URL, f"http://127.0.0.1:{port}")
    assert first in emovox.load().labels
    assert len(rest) >= 10


@pytest.mark.parametrize(
    ("document", "heading"),
    [("README.md", "## In Python"), ("docs/tutorials/first-steps.md", "# First steps")],
)
def test_snippets_print_what_they_show(document: str, heading: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8").partition(heading)[2]
    shown = "".join(re.findall(r"^```text\n(.*?)^```", text, re.M | re.S)).splitlines()
    # Probabilities in 8 bits differ between processors, so the likeliest label has to agree, not each digit.
    number, likeliest = re.compile(r"\d+\.\d+"), re.compile(r" \(.*")
    printed = run_snippets(document)
    for ours, theirs in zip(printed, shown, strict=True):
        ours, theirs = likeliest.sub("", ours), likeliest.sub("", theirs)
        assert number.sub("#", ours) == number.sub("#", theirs)
        numbers = [[float(x) for x in number.findall(line)] for line in (ours, theirs)]
        assert numbers[0] == pytest.approx(numbers[1], abs=0.1)


def test_behaviour_snippet_runs() -> None:
    pytest.importorskip("yaml")
    assert run_snippets("docs/behaviour.md")[0].startswith("{'category': 'all', 'passed': 2,")


def test_coming_from_snippets_run() -> None:
    pytest.importorskip("opensmile")
    lines = run_snippets("docs/coming-from.md")
    assert lines[0].startswith("angry 0.9")
    assert "['angry', 'happy', 'sad', 'boredom', 'calm', 'fear', 'disgust', 'happy']" in lines
    assert "(4096,)" in lines
    assert any(line.startswith("(2, 88) ") for line in lines)


@pytest.mark.filterwarnings("ignore")
def test_integrations_snippets_run() -> None:
    for name in ("sklearn", "pandas", "datasets"):
        pytest.importorskip(name)
    lines = run_snippets("docs/integrations.md", warnings="default")
    assert "['angry' 'happy' 'neutral' 'sad' 'surprise']" in lines
    assert any("angry_prob" in line for line in lines)
