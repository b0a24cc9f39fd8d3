"""Clips are cut to their speech, at the same sample of it wherever it begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emovox import audio
from emovox.audio.vad import SpeechDetector
from emovox.inference.clip import GRID, MARGIN_S, cut_to_speech

CLIPS = [audio.read(clip) for clip in sorted((Path(__file__).parents[2] / "examples").glob("*.opus"))[:2]]


def detect(x: np.ndarray) -> np.ndarray:
    detector = SpeechDetector()
    return np.concatenate([detector.push(x), detector.flush()])


def cut(x: np.ndarray) -> np.ndarray:
    return cut_to_speech(x, detect(x))


def phase(x: np.ndarray) -> float:
    """Circular mean of the energy modulo `GRID`, in samples from -GRID / 2 to GRID / 2."""
    turns = np.exp(2j * np.pi * np.arange(len(x)) / GRID)
    return float(np.angle(np.sum(x.astype(np.float64) ** 2 * turns))) / (2 * np.pi) * GRID


@settings(max_examples=30, deadline=None)
@given(
    clip=st.sampled_from(CLIPS),
    before=st.integers(0, 2000),
    after=st.integers(0, 2000),
    speech=st.integers(0, 9000),
)
def test_zeros_around_speech_change_no_sample(clip: np.ndarray, before: int, after: int, speech: int) -> None:
    x = clip[np.abs(clip).argmax() - speech :]  # begins with speech, or with silence
    plain, padded = cut(x), cut(np.pad(x, (before, after)))
    peak, moved = int(np.abs(plain).argmax()), int(np.abs(padded).argmax())
    n = min(peak, moved)  # the detector may flag a frame more or less at the edges
    assert abs(peak - moved) % GRID <= 2 or abs(peak - moved) % GRID >= GRID - 2
    np.testing.assert_array_equal(plain[peak - n : peak + 2000], padded[moved - n : moved + 2000])
    assert abs(phase(plain) - phase(padded)) < 2


@settings(max_examples=30, deadline=None)
@given(clip=st.sampled_from(CLIPS), removed=st.integers(0, 4000), seed=st.integers(0, 9))
def test_cut_begins_at_one_phase_of_speech(clip: np.ndarray, removed: int, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.001, len(clip)).astype(np.float32)
    for x in (clip, clip[removed:], clip + noise):
        assert abs(phase(cut(x))) <= 2


@pytest.mark.parametrize("gain_db", [-24, -12, 12])
def test_gain_moves_no_cut(gain_db: float) -> None:
    gain = np.float32(10 ** (gain_db / 20))
    for clip in CLIPS:
        flags, quiet = detect(clip), np.float32(0.2) * clip
        np.testing.assert_array_equal(cut_to_speech(quiet * gain, flags), cut_to_speech(quiet, flags) * gain)


def test_margin_around_speech() -> None:
    margin, frame = round(MARGIN_S * 16_000), 480
    flags = np.zeros(200, np.bool_)
    flags[90:100] = True
    x = np.full(200 * frame, 0.01, np.float32)
    x[95 * frame] = 1.0
    found = cut_to_speech(x, flags)
    assert 0 <= 10 * frame + 2 * margin - len(found) < GRID
    assert abs(phase(found)) <= 2


def test_short_and_silent_cuts_stay() -> None:
    x = np.zeros(4800, np.float32)
    flags = np.ones(10, np.bool_)
    assert len(cut_to_speech(x, flags)) == 4800
    x[1000:2000] = 0.5
    assert 1000 - GRID < len(cut_to_speech(x, flags)) <= 1000
    assert len(cut_to_speech(x, flags, least=4800)) == 4800
    assert len(cut_to_speech(x, ~flags)) == 4800
