"""A microphone is found by its name, heard whole, and waited for when it is unplugged."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from devices import FakeLibrary
from emovox.audio.microphone import Microphone, Piece, Recorder, devices, find
from emovox.errors import MicrophoneError, MissingExtraError

RAMP = np.arange(1, 30_001, dtype=np.int16)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLibrary]:
    fake = FakeLibrary(RAMP, names=("Built-in", "USB headset", "USB camera"))
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(Microphone, "RETRY_S", 0.05)
    monkeypatch.setattr(Microphone, "STALL_S", 0.3)
    monkeypatch.setattr(Microphone, "TICK_S", 0.02)
    yield fake
    fake.is_plugged = False  # ends the threads of streams that a failed test left open


def test_devices(library: FakeLibrary) -> None:
    assert [(one.number, one.name, one.is_default) for one in devices()] == [
        (0, "Built-in", True),
        (1, "USB headset", False),
        (2, "USB camera", False),
    ]
    assert find().name == "Built-in"
    assert find("2") == find(2) == find("usb CAMERA") == find("cam")
    with pytest.raises(MicrophoneError, match="1 'USB headset', 2 'USB camera'"):
        find("usb")
    with pytest.raises(MicrophoneError, match="did you mean 'USB headset'"):
        find("USB haedset")
    with pytest.raises(MicrophoneError, match="0 'Built-in'"):
        find("zzz")
    with pytest.raises(MicrophoneError, match="no microphone is called 7"):
        find(7)
    library.is_plugged = False
    with pytest.raises(MicrophoneError, match="plug one in"):
        find()


def test_it_cannot_be_opened(library: FakeLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(**_: object) -> None:
        raise library.PortAudioError("device busy")

    monkeypatch.setattr(library, "InputStream", busy)
    with pytest.raises(MicrophoneError, match="'Built-in' cannot be opened: device busy"):
        Microphone()


def test_its_own_rate(library: FakeLibrary) -> None:
    library.own_rate = 44_100
    with Microphone() as microphone:
        assert microphone.sample_rate == 44_100


def listened(microphone: Microphone, seconds: float) -> Iterator[Piece]:
    until_s = time.monotonic() + seconds
    for piece in microphone.pieces():
        yield piece
        if time.monotonic() > until_s:
            return


def test_every_sample_comes_once(library: FakeLibrary) -> None:
    with Microphone("headset") as microphone:
        heard = np.concatenate([piece.sound for piece in listened(microphone, 0.4)])
    assert heard.dtype == np.int16
    assert heard.size > 0.3 * microphone.sample_rate
    assert np.array_equal(heard, np.take(RAMP, range(heard.size), mode="wrap"))


@pytest.mark.parametrize("way", ["gone", "stuck"])
def test_time_goes_on_while_it_is_unplugged(library: FakeLibrary, way: str) -> None:
    rate, n, told = 48_000, 0, []
    with Microphone() as microphone:
        start_s = time.monotonic()
        for piece in listened(microphone, 2.0):
            now_s = time.monotonic() - start_s
            n += piece.sound.size
            if not told or told[-1] is not piece.is_plugged:
                told.append(piece.is_plugged)
            if not piece.is_plugged:
                assert not piece.sound.any()
            if 0.4 < now_s < 1.2:
                library.is_plugged = way != "gone"
                library.is_stuck = way == "stuck"
            else:
                library.is_plugged, library.is_stuck = True, False
        seconds = time.monotonic() - start_s
    assert told == [True, False, True]
    assert library.n_opened >= 2
    assert n / rate == pytest.approx(seconds, abs=0.4)


def test_a_named_one_is_not_exchanged_for_another(library: FakeLibrary) -> None:
    with Microphone("headset") as microphone:
        told = []
        for piece in listened(microphone, 1.0):
            library.names = ("Built-in",)
            library.is_stuck = library.n_opened == 1
            told.append(piece.is_plugged)
        assert library.n_opened == 1
        assert told[-1] is False
        library.names, library.is_stuck = ("USB headset", "Built-in"), False
        assert list(listened(microphone, 0.5))[-1].is_plugged
        assert library.n_opened == 2


def test_takes(library: FakeLibrary) -> None:
    recorder = Recorder()
    assert recorder.stop().size == 0
    for _ in range(2):  # a second take does not hold the first
        recorder.start()
        time.sleep(0.2)
        heard = recorder.stop()
        assert heard.dtype == np.float32
        assert heard.size > 0.1 * recorder.sample_rate
        assert np.array_equal(heard, RAMP[: heard.size] / np.float32(32768))


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    for opened in (Recorder, Microphone, devices):
        with pytest.raises(MissingExtraError, match=r"\[mic\]"):
            opened()


def test_no_portaudio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(MicrophoneError, match=r"PortAudio is not: .*libportaudio2"):
        Microphone()
