"""Where is speech: the invariants of streaming, what must be heard and what must not."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emovox.audio.level import NO_SPEECH_S
from emovox.audio.vad import FRAME_S, HANG_S, Vad, confirm_speech
from emovox.errors import AudioValueError

RATE = 16_000
FRAME = 480


def source(n: int, *, whisper: bool) -> np.ndarray:
    """Glottal pulses at 100 to 140 Hz, or breath."""
    rng = np.random.default_rng(11)
    if whisper:
        return rng.normal(0, 0.2, n)
    phase = np.cumsum(120 + 20 * np.sin(2 * np.pi * 0.8 * np.arange(n) / RATE)) / RATE
    return np.diff(np.floor(phase), prepend=0.0) + rng.normal(0, 0.005, n)


def voice(seconds: float, *, whisper: bool = False, peak: float = 0.3) -> np.ndarray:
    """``(n,)``: four syllables a second with the formants of an open vowel."""
    n = round(seconds * RATE)
    f = np.fft.rfftfreq(n, 1 / RATE)
    response = sum(1 / (1 + ((f - hz) / width) ** 2) for hz, width in ((700, 90), (1200, 110), (2500, 150)))
    x = np.fft.irfft(np.fft.rfft(source(n, whisper=whisper)) * response, n)
    x *= np.clip(np.sin(2 * np.pi * 4 * np.arange(n) / RATE), 0, None) ** 0.5
    return (peak * x / np.abs(x).max()).astype(np.float32)


def noise(kind: str, seconds: float, level_dbfs: float) -> np.ndarray:
    """``(n,)`` steady noise."""
    n = round(seconds * RATE)
    rng = np.random.default_rng(12)
    t = np.arange(n) / RATE
    if kind == "hum":
        x = sum(np.sin(2 * np.pi * 50 * k * t + k) / k for k in range(1, 6)) + rng.normal(0, 0.05, n)
    else:
        f = np.fft.rfftfreq(n, 1 / RATE)
        shape = np.sqrt(50 / np.maximum(f, 50)) * (f > 50) if kind == "pink" else 1.0
        x = np.fft.irfft(np.fft.rfft(rng.normal(0, 1, n)) * shape, n)
    return (10 ** (level_dbfs / 20) * x / np.sqrt(np.mean(x**2))).clip(-1, 1).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def flags(x: np.ndarray, **options: Any) -> np.ndarray:
    """All flags of ``x``."""
    vad = Vad(**options)
    return np.concatenate([vad.push(x), vad.flush()])


@pytest.mark.parametrize("offset", [-0.2, 0.003, 0.03, 0.1])
@pytest.mark.parametrize("peak", [0.02, 0.3])
def test_an_offset_of_the_sound_card_costs_no_speech(offset: float, peak: float) -> None:
    gap, speech = silence(1.5), voice(2.0, peak=peak)
    x = np.concatenate([gap, speech, gap, gap, speech, gap])
    plain, shifted = flags(x), flags(x + np.float32(offset))
    assert (plain != shifted).sum() <= 2
    late = np.where(np.arange(len(x)) < 4 * RATE, 0.0, offset)  # somebody plugs another one in
    assert flags((x + late).astype(np.float32))[round(6.5 / FRAME_S) : round(8.5 / FRAME_S)].all()


MIXED = np.concatenate(
    [silence(0.4), voice(1.3), noise("pink", 1.5, -45), voice(1.0, whisper=True, peak=0.05), silence(0.501)]
)


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 9_000), max_size=30))
def test_any_chunking_gives_the_same_flags(sizes: list[int]) -> None:
    edges = np.minimum(np.cumsum([0, *sizes, len(MIXED)]), len(MIXED))
    vad = Vad()
    parts = [vad.push(MIXED[a:b]) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate([*parts, vad.flush()]), flags(MIXED))


@settings(max_examples=25, deadline=None)
@given(n=st.integers(0, len(MIXED)))
def test_a_flag_comes_with_its_frame_and_knows_nothing_later(n: int) -> None:
    vad = Vad()
    known = vad.push(MIXED[:n])
    assert known.dtype == np.bool_
    assert len(known) == n // FRAME
    np.testing.assert_array_equal(known, flags(MIXED)[: len(known)])
    assert len(vad.flush()) == (1 if n % FRAME else 0)
    assert len(vad.flush()) == 0


@pytest.mark.parametrize("gain_db", [0, -20])
@pytest.mark.parametrize("whisper", [False, True])
def test_soft_and_whispered_voices_are_heard(whisper: bool, gain_db: float) -> None:
    x = np.concatenate([silence(0.5), voice(3.0, whisper=whisper) * np.float32(10 ** (gain_db / 20))])
    assert flags(x)[17:].mean() > 0.97


def test_the_gain_finds_a_very_soft_voice_in_a_quiet_room() -> None:
    x = noise("pink", 3.5, -75) + np.concatenate([silence(0.5), voice(3.0, peak=0.003)])
    assert flags(x)[17:].mean() > 0.95
    assert flags(x, gain_db=0.0)[17:].mean() < 0.85


def test_a_voice_in_noise_is_heard() -> None:
    x = noise("pink", 8.0, -35)
    x[4 * RATE : 7 * RATE] += voice(3.0)
    found = flags(x)
    assert found[134:233].mean() > 0.97
    assert found[60:133].mean() < 0.05


@pytest.mark.parametrize("level_dbfs", [-20, -40, -60])
@pytest.mark.parametrize("kind", ["white", "pink", "hum"])
def test_steady_noise_is_not_speech_for_long(kind: str, level_dbfs: float) -> None:
    found = flags(noise(kind, 20.0, level_dbfs))
    assert found[50:].mean() < 0.02


def test_silence_is_not_speech() -> None:
    assert not flags(silence(3.0)).any()
    assert flags(noise("white", 3.0, -75)).sum() * FRAME_S < NO_SPEECH_S  # WebRTC starts with a few yes


def test_speech_lasts_a_little_longer_and_then_ends() -> None:
    end = 50 * FRAME  # a frame border
    found = flags(np.concatenate([voice(3.0)[:end], silence(2.0)]))
    last = int(np.flatnonzero(found)[-1]) + 1
    assert 0.5 * HANG_S <= (last - 50) * FRAME_S <= HANG_S + 2 * FRAME_S
    assert found[: last - 1].all()
    without = flags(np.concatenate([voice(3.0)[:end], silence(2.0)]), hang_s=0.0)
    assert int(np.flatnonzero(without)[-1]) + 1 == last - round(HANG_S / FRAME_S)


def test_speech_after_a_long_noise_is_heard_at_once() -> None:
    x = np.concatenate([noise("white", 60.0, -50), voice(1.0)])
    assert flags(x)[2000 + 2 :].mean() > 0.95


def room_noise(seconds: float, level_dbfs: float, seed: int = 13) -> np.ndarray:
    """Noise whose level varies by several dB from frame to frame, as after a codec."""
    x = noise("pink", seconds, level_dbfs)
    levels = np.random.default_rng(seed).normal(0, 5, len(x) // FRAME + 1)
    return x * np.repeat(10 ** (levels / 20), FRAME)[: len(x)].astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(
    before_s=st.floats(0.6, 1.5),
    after_s=st.floats(0.6, 1.5),
    below=st.integers(45, 60),
    gain=st.integers(-12, 12),
)
def test_window_drops_silence_around_voice(before_s: float, after_s: float, below: int, gain: int) -> None:
    peak = 10 ** (gain / 20)
    speech = voice(1.5, peak=0.2)
    level = 20 * np.log10(np.sqrt(np.mean(speech**2))) - below
    x = np.concatenate([room_noise(before_s, level), speech, room_noise(after_s, level, seed=14)])
    n, first, end = len(x) // FRAME, round(before_s / FRAME_S), round((before_s + 1.5) / FRAME_S)
    found = confirm_speech(x * np.float32(peak), np.ones(n, np.bool_))
    assert not found[: first - 1].any()
    assert found[first + 1 : end - 1].mean() > 0.95
    assert not found[end + round(HANG_S / FRAME_S) + 2 :].any()
    np.testing.assert_array_equal(found, confirm_speech(x, np.ones(n, np.bool_)))


@pytest.mark.parametrize("kind", ["white", "pink", "hum"])
def test_window_drops_steady_noise_of_first_second(kind: str) -> None:
    x = noise(kind, 1.0, -40)
    found = flags(x)
    assert found.any()
    assert confirm_speech(x, found).mean() < 0.1
    assert not confirm_speech(silence(1.0), np.ones(33, np.bool_)).any()


@pytest.mark.parametrize("whisper", [False, True])
def test_window_keeps_soft_voice_beside_click(whisper: bool) -> None:
    x = np.concatenate([silence(0.6), voice(2.0, whisper=whisper, peak=0.004), silence(0.4)])
    x[3 * FRAME : 3 * FRAME + 50] = 1.0
    assert confirm_speech(x, np.ones(100, np.bool_))[20:86].mean() > 0.97


def test_window_adds_no_speech() -> None:
    raw = flags(MIXED)
    confirmed = confirm_speech(MIXED, raw)
    assert not (confirmed & ~raw).any()
    assert len(confirm_speech(MIXED[:0], raw[:0])) == 0


def test_state_is_bounded() -> None:
    vad = Vad()
    for _ in range(60):
        vad.push(noise("white", 1.0, -30))
    assert len(vad._rest) < FRAME
    assert len(vad._recent) == 100


def test_the_sound_is_neither_changed_nor_kept() -> None:
    x = MIXED.copy()
    vad = Vad()
    vad.push(x[: FRAME + 100])
    np.testing.assert_array_equal(x, MIXED)
    x[:] = 1.0
    np.testing.assert_array_equal(vad.push(MIXED[FRAME + 100 :]), flags(MIXED)[1:-1])


@pytest.mark.parametrize("options", [{"sample_rate": 44_100}, {"mode": 4}, {"mode": "high"}])
def test_what_webrtc_cannot_do_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(AudioValueError):
        Vad(**options)
    with pytest.raises(AudioValueError, match="one channel"):
        Vad().push(np.zeros((2, 480), np.float32))


def test_other_rates() -> None:
    x = np.concatenate([silence(0.4), voice(1.3)])
    twice = np.repeat(x, 2)
    assert len(flags(twice, sample_rate=32_000)) == len(flags(x))
    assert flags(twice, sample_rate=32_000).mean() == pytest.approx(flags(x).mean(), abs=0.05)


@pytest.mark.corpora
@pytest.mark.skipif("EMOVOX_CORPORA" not in os.environ, reason="EMOVOX_CORPORA is not set")
@pytest.mark.parametrize("emotion", ["02", "04", "05"])
def test_calm_cried_and_angry_clips_are_heard(emotion: str) -> None:
    """RAVDESS, strong intensity: all 24 actors speak for 0.5 s and more, even turned down by 20 dB."""
    from emovox import audio

    root = Path(os.environ["EMOVOX_CORPORA"]) / "ravdess"
    clips = sorted(root.glob(f"Actor_*/03-01-{emotion}-02-01-01-*"))
    assert len(clips) == 24
    for clip in clips:
        for gain in (1.0, 0.1):
            assert flags(audio.read(clip) * np.float32(gain)).sum() * FRAME_S > 0.5, clip
