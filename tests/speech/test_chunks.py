"""Chunks hold all speech once, are short enough for Whisper, and do not depend on the blocks."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from emovox.audio import SAMPLE_RATE
from emovox.audio.vad import SpeechDetector
from emovox.speech.chunks import FRAME, MAX_CHUNK_S, SpeechChunk, SpeechChunker
from speech import pause, talk, voice


def cut(x: np.ndarray, *sizes: int, vad: bool = True) -> list[SpeechChunk]:
    chunker = SpeechChunker(vad=vad)
    chunks, at = [], 0
    for size in (*sizes, len(x)):
        chunks += chunker.push(x[at : at + size])
        at += size
    return chunks + chunker.flush()


def test_silence_has_no_chunk() -> None:
    assert cut(pause(40)) == []
    assert cut(np.zeros(0, np.float32)) == []


def test_chunk_keeps_a_margin() -> None:
    (chunk,) = cut(np.concatenate([pause(10), voice(3), pause(10)]))
    assert 9.4 < chunk.start_s <= 10
    assert 13 <= chunk.end_s < 14.5
    assert chunk.has_speech(10.5 - chunk.start_s, 10.6 - chunk.start_s)
    assert not chunk.has_speech(0, 0.01)


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.floats(0.1, 40), st.floats(0, 8)), min_size=1, max_size=5),
    st.lists(st.integers(1, 200_000), max_size=4),
    st.booleans(),
)
def test_speech_is_in_one_chunk(parts: list[tuple[float, float]], sizes: list[int], vad: bool) -> None:
    x = np.concatenate([y for voice_s, pause_s in parts for y in (voice(voice_s), pause(pause_s))])
    chunks = cut(x, *sizes, vad=vad)
    detector = SpeechDetector(enabled=vad)
    flags = np.concatenate([detector.push(x), detector.flush()])
    covered = np.zeros(len(flags), int)
    for chunk in chunks:
        first = round(chunk.start_s * SAMPLE_RATE / FRAME)
        covered[first : first + len(chunk.flags)] += 1
        start = round(chunk.start_s * SAMPLE_RATE)
        np.testing.assert_array_equal(chunk.sound, x[start : start + len(chunk.sound)])
        assert chunk.duration_s <= MAX_CHUNK_S + 1
        assert len(chunk.sound) > (len(chunk.flags) - 1) * FRAME
    assert covered.max(initial=0) <= 1
    assert covered[flags].all()
    whole = cut(x, vad=vad)
    assert [c.start_s for c in chunks] == [c.start_s for c in whole]


def test_long_speech_is_cut_in_its_pause() -> None:
    x = np.concatenate([voice(20), pause(1.2), voice(20)])
    first, second = cut(x)
    assert 20 < first.end_s < 21.2
    assert first.end_s <= second.start_s < 21.2


def test_talk_is_one_chunk_or_two() -> None:
    assert [round(chunk.start_s, 1) for chunk in cut(talk())] == [0.1]
