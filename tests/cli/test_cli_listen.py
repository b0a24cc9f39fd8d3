"""`emovox listen`: what is heard is what a file of it would say, and an end is never a loss."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import emovox
from conftest import tiny_features_onnx
from devices import FakeLibrary, Pulse
from emovox.audio.microphone import Microphone
from emovox.bundles import write_bundle
from emovox.cli import main
from emovox.cli.live import Bars
from emovox.disclaimer import SHORT
from emovox.inference.adaptation import Profile
from emovox.results import Window
from speaker_model import speaker_spec

EXAMPLES = sorted(str(file) for file in (Path(__file__).parents[2] / "tests" / "synthetic").glob("*.flac"))

Run = Callable[..., tuple[int, str, str]]


def voice(seconds: float = 7.0) -> np.ndarray:
    """Notes between which it is nearly silent: ``(n,)`` int16 at 48 kHz, the same each time."""
    t = np.arange(round(48_000 * seconds)) / 48_000
    hz = np.array([180, 320, 250, 900, 140, 400, 210])[(t % 7).astype(int)]
    loud = np.clip(np.sin(2 * np.pi * 0.9 * t) + 0.4, 0.001, 1)
    sound = loud * sum(np.sin(2 * np.pi * k * hz * t) / k for k in (1, 2, 3, 5))
    return (6000 * sound).astype(np.int16)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLibrary]:
    fake = FakeLibrary(voice(), speed=30)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(Microphone, "RETRY_S", 0.05)
    monkeypatch.setattr(Microphone, "TICK_S", 0.02)
    yield fake
    fake.is_plugged = False


@pytest.fixture
def run(library: FakeLibrary, capsys: pytest.CaptureFixture[str], tiny_bundle: Path) -> Run:
    def listen(*options: object) -> tuple[int, str, str]:
        code = main(["listen", "--model", str(tiny_bundle), *map(str, options)])
        out, err = capsys.readouterr()
        return code, out, err

    return listen


def rows(out: str, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in out.splitlines()]
    assert {row["type"] for row in found} <= {"window", "segment", "prediction", "device"}
    return [{k: v for k, v in row.items() if k != "type"} for row in found if row["type"] == kind]


def timeline(file: Path, bundle: Path, **options: Any) -> list[dict[str, Any]]:
    return [replace(s, file=None).to_dict() for s in emovox.load(bundle).timeline(file, **options)]


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_segments_equal_saved_file(run: Run, tmp_path: Path, tiny_bundle: Path, suffix: str) -> None:
    file = tmp_path / f"heard.{suffix}"
    code, out, err = run("--json", "--seconds", 20, "--save", file)
    assert code == 0, err
    info = soundfile.info(file)
    assert (info.samplerate, info.frames, info.subtype) == (48_000, 20 * 48_000, "PCM_16")
    assert np.array_equal(soundfile.read(file, dtype="int16")[0], np.resize(voice(), 20 * 48_000))
    segments = rows(out, "segment")
    assert len(segments) >= 3
    assert segments == timeline(file, tiny_bundle)
    assert [row["end_s"] for row in rows(out, "window")] == [float(n) for n in range(1, 21)]


def test_listen_options(run: Run, tmp_path: Path, tiny_bundle: Path) -> None:
    file = tmp_path / "heard.wav"
    how = ("--labels", "anger,sad", "--vad", "off", "--window-s", 2, "--hop-s", 0.5)
    code, out, _ = run("--json", "--seconds", 5, "--save", file, *how)
    assert code == 0
    assert rows(out, "segment") == timeline(
        file, tiny_bundle, labels="angry,sad", vad="off", window_s=2, hop_s=0.5
    )
    assert len(rows(out, "window")) == 10


def test_listen_with_profile(run: Run, tmp_path: Path) -> None:
    bundle, me, file = (tmp_path / name for name in ("bundle", "me.json", "heard.wav"))
    write_bundle(bundle, tiny_features_onnx(180), speaker_spec())
    emovox.load(bundle).enroll(EXAMPLES[:2]).save(me)
    how = ("--model", bundle, "--vad", "off", "--seconds", 9)
    segments = []
    for options in ((), ("--profile", me), ("--profile", me, "--adapt")):
        code, out, err = run("--json", "--save", file, "--force", *how, *options)
        assert code == 0, err
        known = {"profile": Profile.load(me)} if options else {}
        assert rows(out, "segment") == timeline(file, bundle, vad="off", adapt="--adapt" in options, **known)
        segments.append(rows(out, "segment"))
    assert segments[0] != segments[1] != segments[2]


def test_listen_table(run: Run) -> None:
    code, out, err = run("--seconds", 8)
    assert code == 0
    assert "expressed" in out.splitlines()[0]
    assert all(line.startswith("microphone") for line in out.splitlines()[1:])
    assert "\x1b" not in out + err
    assert "listening to mic, 48000 Hz" in err


def test_unplugged_microphone(run: Run, library: FakeLibrary, tmp_path: Path, tiny_bundle: Path) -> None:
    library.speed = 1  # silence stands for time that really passes
    file = tmp_path / "heard.wav"

    def pull() -> None:
        time.sleep(1.2)
        library.is_plugged = False
        time.sleep(0.6)
        library.is_plugged = True

    hand = threading.Thread(target=pull)
    hand.start()
    code, out, err = run("--json", "--seconds", 3.5, "--save", file, "--vad", "off")
    hand.join()
    assert code == 0, err
    assert [row["is_plugged"] for row in rows(out, "device")] == [False, True]
    gone_s, back_s = (row["at_s"] for row in rows(out, "device"))
    assert 0.5 < back_s - gone_s < 2
    assert soundfile.info(file).duration == 3.5
    assert rows(out, "segment") == timeline(file, tiny_bundle, vad="off")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_listening(run: Run, tmp_path: Path, tiny_bundle: Path, number: signal.Signals) -> None:
    file = tmp_path / "heard.wav"
    threading.Timer(0.6, os.kill, (os.getpid(), number)).start()
    code, out, _ = run("--json", "--save", file)
    assert code == 0
    segments = rows(out, "segment")
    assert segments == timeline(file, tiny_bundle)
    assert segments[-1]["end_s"] > soundfile.info(file).duration - 2


def test_options_are_checked_first(run: Run, library: FakeLibrary, tmp_path: Path) -> None:
    there = tmp_path / "there.wav"
    there.write_bytes(b"x")
    for options, told in (
        (("--save", there), "add --force"),
        (("--save", tmp_path / "x.mp3"), ".wav or .flac"),
        (("--save", tmp_path / "no" / "x.wav"), "folder that exists"),
        (("--labels", "hangry"), "hangry"),
        (("--hop-s", "100"), "hop"),
        (("--device", "mc"), "did you mean 'mic'"),
        (("--adapt",), "cannot use a voice profile"),
    ):
        code, out, err = run("--seconds", 1, *options)
        assert (code, out) == (2, "")
        assert told in " ".join(err.split())
    assert library.n_opened == 0
    assert there.read_bytes() == b"x"
    assert run("--seconds", 0.5, "--save", there, "--force")[0] == 0
    assert soundfile.info(there).frames == 24_000
    code, out, _ = run("--devices")
    assert (code, out) == (0, "*   0  mic  (Fake, 48000 Hz)\n")


def test_no_microphone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emovox.audio.microphone.devices", list)
    code, out, said = run("--devices")
    assert (code, out) == (0, "")
    assert "no microphone" in said


class Terminal(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


def test_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    for name in ("COLUMNS", "LINES"):
        monkeypatch.setenv(name, "60")
    bars = Bars(["happy", "sad"])
    bars.draw(61.5, None, "listening")
    bars.window(Window(0, 3, {"happy": 0.75, "sad": 0.25}, 1.0))
    bars.draw(62.0, -20.0, "listening")
    last = screen.getvalue().rpartition("\x1b[J")[2]
    assert "1:02.0" in last
    assert "-20 dBFS  listening" in last
    assert [line.count("█") for line in last.splitlines()[1:]] == [22, 8]
    bars.hide()
    assert screen.getvalue().endswith("\r\x1b[2A\x1b[J")
    # On a narrow and low terminal no line wraps, and the block fits.
    monkeypatch.setenv("COLUMNS", "12")
    monkeypatch.setenv("LINES", "3")
    bars.draw(1.0, -20.0, "listening")
    lines = screen.getvalue().rpartition("\x1b[J")[2].splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) < 12
    monkeypatch.setenv("TERM", "dumb")
    assert not Bars(["happy"])._is_shown


def test_missing_mic_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["listen", "--seconds", "1"]) == 2
    assert "[mic]'" in capsys.readouterr().err


@pytest.mark.skipif(not Pulse.is_here(), reason="needs pulseaudio and pulseaudio-utils")
def test_a_virtual_microphone(tmp_path: Path, tiny_bundle: Path) -> None:
    pytest.importorskip("sounddevice", exc_type=OSError)
    clip, heard = tmp_path / "clip.wav", tmp_path / "heard.wav"
    quiet = np.zeros(24_000, np.int16)  # what a player starts with may be lost
    soundfile.write(clip, np.concatenate([quiet, voice(1.5), quiet]), 48_000)
    pulse = Pulse()
    try:
        command = [sys.executable, "-m", "emovox", "listen", "--json", "--vad", "off", "--seconds", "5"]
        with subprocess.Popen(
            [*command, "--model", str(tiny_bundle), "--save", str(heard)],
            env=pulse.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as listening:
            assert listening.stdout is not None
            first = listening.stdout.readline()  # the first window: from now on it hears
            assert pulse.play(clip).wait(20) == 0
            out = first + listening.communicate(timeout=30)[0]
    finally:
        pulse.close()
    assert listening.returncode == 0
    assert rows(out, "segment") == timeline(heard, tiny_bundle, vad="off")
    x, y = (soundfile.read(f)[0] for f in (clip, heard))
    lag = int(np.fft.irfft(np.fft.rfft(y, 1 << 19) * np.fft.rfft(x, 1 << 19).conj()).argmax())
    assert np.corrcoef(y[lag : lag + len(x)], x)[0, 1] > 0.95  # 1 unless the machine is too busy to play


def test_notice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    assert run("--seconds", 1)[0] == 0
    assert SHORT in screen.getvalue()
