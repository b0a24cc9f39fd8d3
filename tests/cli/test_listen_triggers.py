"""`emovox listen --on RULE --run CMD`: events are printed, and a command runs for them without delaying."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices import FakeLibrary
from emovox.audio.microphone import Microphone
from emovox.cli import command_runner, main
from emovox.cli.command_runner import CommandRunner

Run = Callable[..., tuple[int, str, str]]

RECORD = """
import json, os, sys
event = json.load(sys.stdin)
assert os.environ["EMOVOX_STATE"] == event["state"] and os.environ["EMOVOX_LABEL"] == event["label"]
print("printed by the command")
with open(sys.argv[1], "a") as file:
    file.write(json.dumps([event, sys.argv[2:]]) + chr(10))
"""


def make_sound() -> np.ndarray:
    """Ten seconds of int16 at 48 kHz: a buzz in syllables, silence, such a buzz."""
    t = np.arange(10 * 48_000) / 48_000
    buzz = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 20))
    syllables = 0.52 - 0.48 * np.cos(2 * np.pi * 4 * t)  # a steady buzz is noise
    return (5000 * buzz * syllables * ((t < 4) | (t > 8))).astype(np.int16)


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tiny_bundle: Path
) -> Iterator[Run]:
    library = FakeLibrary(make_sound(), speed=30)
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    monkeypatch.setattr(Microphone, "TICK_S", 0.02)

    def listen(*options: object) -> tuple[int, str, str]:
        code = main(["listen", "--model", str(tiny_bundle), "--seconds", "10", *map(str, options)])
        out, err = capfd.readouterr()
        return code, out, err

    yield listen
    library.is_plugged = False


def events_of(out: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in out.splitlines()]
    return [{k: v for k, v in row.items() if k != "type"} for row in rows if row["type"] == "trigger"]


def top_label(run: Run) -> str:
    """What the tiny model answers to the buzz."""
    rows = [json.loads(line) for line in run("--json")[1].splitlines()]
    scores = next(row["scores"] for row in rows if row["type"] == "window" and row["scores"])
    return max(scores, key=scores.get)


def test_events_and_command(run: Run, tmp_path: Path) -> None:
    script, record = tmp_path / "record.py", tmp_path / "events; rm -rf x.jsonl"
    script.write_text(RECORD)
    command = shlex.join([sys.executable, str(script), str(record), "$HOME", "a b", "; exit 3"])
    label = top_label(run)
    code, out, err = run("--json", "--on", f"{label}>0.1:2s", "--run", command)
    assert code == 0, err
    events = events_of(out)
    assert [event["state"] for event in events] == ["begin", "end"]
    assert events[0]["at_s"] - events[0]["since_s"] == 2.0
    called = [json.loads(line) for line in record.read_text().splitlines()]
    assert [event for event, _ in called] == events
    assert called[0][1] == ["$HOME", "a b", "; exit 3"], "no shell reads the arguments"
    assert "printed by the command" not in out
    assert "printed by the command" in err


def test_table_reports_events(run: Run) -> None:
    label = top_label(run)
    code, out, err = run("--on", f"{label}>0.1<0.05:1s")
    assert code == 0
    assert f"{label}>0.1<0.05:1s began at" in err
    assert f"{label}>0.1<0.05:1s ended at" in err
    assert "began" not in out


def test_wrong_options(run: Run) -> None:
    for options, expected in (
        (("--on", "angry"), "angry>0.8:2s"),
        (("--on", "hangry>0.8:2s"), "hangry"),
        (("--on", "angry>0.8:2s", "--run", "no-such-program-at-all"), "not an installed program"),
        (("--on", "angry>0.8:2s", "--run", "sh 'unclosed"), "cannot be split"),
        (("--on", "angry>0.8:2s", "--run", ""), "not an installed program"),
        (("--run", "true"), "--run needs a rule"),
    ):
        code, out, err = run(*options)
        assert (code, out) == (2, ""), options
        assert expected in err


EVENT = {"rule": "angry>0.8<0.7:2s", "label": "angry", "state": "begin", "at_s": 3.0, "score": 0.9}


def test_slow_command_never_delays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_runner, "MAX_CLOSE_S", 0.2)
    runner = CommandRunner([sys.executable, "-c", "import time; time.sleep(60)"])
    start_s = time.monotonic()
    for _ in range(command_runner.MAX_WAITING + 10):
        runner.put(EVENT)
    assert time.monotonic() - start_s < 5, "sixty seconds each if it waited for the command"
    runner.close()
    assert not runner._thread.is_alive()
    err = capsys.readouterr().err
    assert "is too slow" in err
    assert "is killed" in err


def test_failures_of_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command_runner, "MAX_RUN_S", 0.3)
    for code, expected in (
        ("import sys; sys.exit(3)", "exit code 3"),
        ("import time; time.sleep(60)", "longer than 0.3 s"),
    ):
        runner = CommandRunner([sys.executable, "-c", code])
        runner.put(EVENT)
        runner.close()
        assert expected in capsys.readouterr().err
    runner = CommandRunner(["/no/such/program"])
    runner.put(EVENT)
    runner.close()
    assert "--run failed: No such file" in capsys.readouterr().err
