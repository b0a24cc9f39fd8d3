"""Segments of a transcript: each has the answer of its sound alone, in one pass and bounded memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emovox.audio import SAMPLE_RATE
from emovox.bundles import load_bundle
from emovox.errors import AudioValueError, ConfigError, LabelError, ProfileError
from emovox.inference import transcripts
from emovox.inference.options import PredictOptions
from emovox.inference.recognizer import Recognizer
from emovox.results import SegmentPrediction, TranscriptSegment
from speech import DARK, pause, talk, voice, wav

TALK = np.tile(talk(), 2)
LENGTH_S = len(TALK) / SAMPLE_RATE


@pytest.fixture(scope="module")
def model(make_bundle: Callable[..., Path]) -> Recognizer:
    """It calls the bright voice happy and the dark one sad; long means above 3 s here."""
    return Recognizer(load_bundle(make_bundle(seed=3, clip_s=3.0, window_s=2.0, temperature=1.5)))


def predict(model: Recognizer, *spans: tuple[float, float], x: np.ndarray = TALK) -> list[SegmentPrediction]:
    segments = [TranscriptSegment(*span, text=f"no. {n}") for n, span in enumerate(spans)]
    return list(model.predict_segments(x, segments, sample_rate=SAMPLE_RATE))


def cut(start_s: float, end_s: float) -> np.ndarray:
    return TALK[round(max(start_s, 0.0) * SAMPLE_RATE) : round(end_s * SAMPLE_RATE)]


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(st.floats(0, LENGTH_S - 1), st.floats(0.002, 9)).map(lambda t: (t[0], sum(t))),
        min_size=1,
        max_size=6,
    )
)
def test_segment_equals_cut_sound(model: Recognizer, spans: list[tuple[float, float]]) -> None:
    """Short ones, long ones, overlaps, any order."""
    found = predict(model, *spans)
    assert [one.segment.text for one in found] == [f"no. {n}" for n in range(len(spans))]
    for span, one in zip(spans, found, strict=True):
        alone = model.predict(cut(*span), sample_rate=SAMPLE_RATE)
        assert one.prediction.label == alone.label
        assert one.prediction.reason == alone.reason
        assert one.prediction.duration_s == alone.duration_s
        assert dict(one.prediction.scores) == pytest.approx(dict(alone.scores), abs=1e-6)


def test_segment_of_a_file_at_another_rate(model: Recognizer, tmp_path: Path) -> None:
    x = np.concatenate([voice(3, rate=44_100), voice(3, pitch_hz=210, formants_hz=DARK, rate=44_100)])
    file = tmp_path / "call.wav"
    file.write_bytes(wav(x, 44_100))
    found = list(model.predict_segments(file, [TranscriptSegment(0, 3), TranscriptSegment(3, 6)]))
    assert [one.prediction.label for one in found] == ["happy", "sad"]
    assert {one.prediction.file for one in found} == {str(file)}


def test_times_are_kept_to_the_millisecond(model: Recognizer) -> None:
    (one,) = predict(model, (12.34, 14.001))
    row = one.to_dict()
    assert (row["start_s"], row["end_s"]) == (12.34, 14.001)
    assert list(row)[:6] == ["file", "channel", "start_s", "end_s", "speaker", "text"]


def test_parts_outside_are_left_out(model: Recognizer) -> None:
    before, after, inside = predict(model, (-2, 2), (LENGTH_S - 6, LENGTH_S + 100), (1, 2))
    assert (before.segment.start_s, before.segment.end_s) == (0.0, 2)
    assert (after.segment.start_s, after.segment.end_s) == (LENGTH_S - 6, LENGTH_S)
    for one, outside in ((before, True), (after, True), (inside, False)):
        assert one.prediction.quality is not None
        assert ("outside" in one.prediction.quality.warnings) == outside


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ((3.0, 3.0), "expected a later end"),
        ((5.0, 3.0), "expected a later end"),
        ((-5.0, -3.0), "before the recording begins"),
        ((LENGTH_S, LENGTH_S + 2), "after the end"),
        ((1e6, 1e6 + 1), "after the end"),
        ((float("nan"), 3.0), "expected times of a recording"),
        ((0.0, float("inf")), "expected times of a recording"),
        ((-1e300, 1e300), "expected times of a recording"),
    ],
)
def test_bad_segment_costs_no_other(model: Recognizer, span: tuple[float, float], message: str) -> None:
    first, bad, last = predict(model, (1.0, 3.0), span, (6.5, 9.0))
    assert bad.prediction.error is not None
    assert message in bad.prediction.error
    assert set(bad.to_dict()) == {"file", "start_s", "end_s", "speaker", "text", "error"}
    assert (first.prediction.label, last.prediction.label) == ("happy", "sad")


def test_too_many_overlaps_are_errors(model: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcripts, "MAX_OVERLAPS", 2)
    found = predict(model, (0, 10), (1, 11), (2, 12), (12, 20), (2, 3))
    assert [one.prediction.error is not None for one in found] == [False, False, True, False, False]


def test_memory_is_bounded(model: Recognizer) -> None:
    """While segments are predicted, thirty of them at each time, little more than a clip of sound is kept."""
    x = np.tile(TALK, 8)
    segments = [TranscriptSegment(start, start + 2.9) for start in np.linspace(0, len(x) / SAMPLE_RATE, 3000)]
    options = PredictOptions(segments=tuple(segments), vad="off")
    most = 0
    tracemalloc.start()
    for n, _ in enumerate(model.results(x, options, sample_rate=SAMPLE_RATE)):
        if n == 100:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
        elif n == 300:
            most = tracemalloc.get_traced_memory()[1] - before
            break
    tracemalloc.stop()
    assert 0 < most < 8e6


def test_results_come_while_the_recording_is_read(model: Recognizer) -> None:
    found = model.predict_segments(
        TALK, [TranscriptSegment(0, 2), TranscriptSegment(30, 32)], sample_rate=16_000
    )
    first = next(found)
    assert first.prediction.label is not None
    assert [one.segment.start_s for one in found] == [30]


def test_wrong_arguments(model: Recognizer) -> None:
    segment = TranscriptSegment(0, 2)
    with pytest.raises(LabelError):
        model.predict_segments(TALK, [segment], sample_rate=SAMPLE_RATE, labels="no such")
    with pytest.raises(ConfigError, match="segments"):
        model.predict_segments(TALK, [segment], sample_rate=SAMPLE_RATE, channels="each")
    with pytest.raises(ProfileError):
        model.predict_segments(TALK, [segment], sample_rate=SAMPLE_RATE, adapt=True)
    with pytest.raises(AudioValueError):
        list(model.predict_segments(TALK, [segment], sample_rate=SAMPLE_RATE, channels=3))
    assert list(model.predict_segments(TALK, [], sample_rate=SAMPLE_RATE)) == []


# ------------------------------------------------------------------------------------------ adaptation


@pytest.fixture(scope="module")
def adaptive_model(adaptive_bundle: Path) -> Recognizer:
    return Recognizer(load_bundle(adaptive_bundle), vad="off")


def test_adapts_to_each_speaker(adaptive_model: Recognizer) -> None:
    """As by a profile of the speaker's clips."""
    bright = [voice(2.0, pitch_hz=p) for p in (110, 130, 150)]
    dark = [voice(2.5, pitch_hz=p, formants_hz=DARK) for p in (180, 210)]
    clips = [bright[0], dark[0], bright[1], dark[1], bright[2]]
    names = ["Anna", "Bo", "Anna", "Bo", "Anna"]
    ends = np.cumsum([len(clip) for clip in clips]) / SAMPLE_RATE
    starts = [0.0, *ends[:-1]]
    segments = [TranscriptSegment(*row) for row in zip(starts, ends, [None] * 5, names, strict=True)]
    found = list(
        adaptive_model.predict_segments(np.concatenate(clips), segments, sample_rate=SAMPLE_RATE, adapt=True)
    )
    for name, own in (("Anna", bright), ("Bo", dark)):
        profile = adaptive_model.enroll(own, sample_rate=SAMPLE_RATE)
        rows = [one for one in found if one.segment.speaker == name]
        for clip, row in zip(own, rows, strict=True):
            alone = adaptive_model.predict(clip, sample_rate=SAMPLE_RATE, profile=profile)
            assert dict(row.prediction.scores) == pytest.approx(dict(alone.scores), abs=1e-6)
            assert row.prediction.adaptation is not None
            assert row.prediction.adaptation.n_clips == len(own)


def test_adaptation_begins_with_a_profile(adaptive_model: Recognizer) -> None:
    profile = adaptive_model.enroll([voice(2.0), voice(3.0, pitch_hz=140)], sample_rate=SAMPLE_RATE)
    x = np.concatenate([voice(2.0, pitch_hz=160), pause(2.0)])
    segments = [TranscriptSegment(0, 2, speaker="Anna"), TranscriptSegment(2, 4, speaker="nobody")]
    found = list(
        adaptive_model.predict_segments(x, segments, sample_rate=SAMPLE_RATE, adapt=True, profile=profile)
    )
    assert found[0].prediction.adaptation is not None
    assert found[0].prediction.adaptation.n_clips == 3
    assert found[1].prediction.reason == "silence"


def test_too_many_speakers_are_refused(adaptive_model: Recognizer) -> None:
    segments = [TranscriptSegment(n, n + 1, speaker=str(n)) for n in range(transcripts.MAX_SPEAKERS + 1)]
    with pytest.raises(ConfigError, match="speakers"):
        list(adaptive_model.predict_segments(TALK, segments, sample_rate=SAMPLE_RATE, adapt=True))
