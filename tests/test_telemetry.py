"""Nothing is told to anybody: libraries that report how they are used are asked not to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from emovox._telemetry import SWITCHES, disable_telemetry


def environ(home: Path, **more: str) -> dict[str, str]:
    """A user's environment without a word on telemetry; all that a process might leave lies in ``home``."""
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(home))
    return {name: value for name, value in os.environ.items() if name not in SWITCHES} | places | more


LIBRARY = "import sys, numpy, emovox; emovox.load(sys.argv[1]).predict(numpy.zeros(16000), sample_rate=16000)"
COMMAND = "import sys; from emovox.cli import main; main(['models', 'show', sys.argv[1]]); import onnxruntime"


@pytest.mark.parametrize("code", [LIBRARY, COMMAND], ids=["library", "command"])
def test_onnxruntime_leaves_no_identifier_and_opens_no_uploader(
    code: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    argv = [sys.executable, "-B", "-c", code, str(tiny_bundle)]
    subprocess.run(argv, env=environ(tmp_path), check=True, capture_output=True, timeout=120)
    assert [path.name for path in tmp_path.rglob("*")] == []


def test_what_the_user_says_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SWITCHES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    disable_telemetry()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
