"""Clips, long recordings and streams: the same sound has the same answer by every way in."""

from __future__ import annotations

import io
import pickle
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from emovox.audio import SAMPLE_RATE
from emovox.bundles import Abstain, Bundle, load_bundle
from emovox.errors import (
    AudioNotFoundError,
    AudioTooLongError,
    AudioValueError,
    BundleCorruptError,
    ConfigError,
    LabelError,
)
from emovox.inference.recognizer import Recognizer
from emovox.inference.scorer import MIN_SPEECH_SHARE
from emovox.inference.windows import FRAME
from emovox.results import Prediction, Segment, Window
from speech import DARK, pause, talk, voice, wav
from streams import streamed, windows


@pytest.fixture(scope="module")
def model(make_bundle: Callable[..., Path]) -> Recognizer:
    """It calls the bright voice happy and the dark one sad; long means above 6 s here."""
    return Recognizer(load_bundle(make_bundle(seed=3, clip_s=6.0, temperature=1.5)))


def close(a: dict[str, float] | Any, b: dict[str, float] | Any, tolerance: float) -> bool:
    return list(a) == list(b) and max(abs(a[k] - b[k]) for k in a) <= tolerance


# ------------------------------------------------------------------------------------------ one clip


def test_scores_are_softmax_of_logits(model: Recognizer) -> None:
    x = voice(2.5)
    p = model.predict(x, sample_rate=SAMPLE_RATE)
    z = model.logits([x])[0].astype(float) / 1.5
    expected = np.exp(z) / np.exp(z).sum()
    np.testing.assert_allclose(list(p.scores.values()), expected, rtol=1e-9)
    assert tuple(p.scores) == model.labels == model.spec.labels
    assert sum(p.scores.values()) == pytest.approx(1, abs=1e-9)
    assert p.label == p.top[0][0]
    assert p.confidence == p.top[0][1]
    assert (p.duration_s, p.reason, p.error, p.file, p.channel) == (2.5, None, None, None, None)
    assert p.model == "tiny 1"
    assert p.quality is not None
    assert p.quality.speech_s == pytest.approx(2.5, abs=0.6)


def test_label_depends_on_sound(model: Recognizer) -> None:
    bright = model.predict(voice(2), sample_rate=SAMPLE_RATE)
    dark = model.predict(voice(2, pitch_hz=210, formants_hz=DARK), sample_rate=SAMPLE_RATE)
    assert bright.label != dark.label


def test_file_equals_array(model: Recognizer, tmp_path: Path) -> None:
    x = voice(2)
    path = tmp_path / "clip.wav"
    path.write_bytes(wav(x))
    from_array = model.predict(x, sample_rate=SAMPLE_RATE)
    from_path = model.predict(path)
    assert from_path.file == str(path)
    assert model.predict(str(path)) == from_path
    for source in (path.read_bytes(), io.BytesIO(path.read_bytes())):
        assert model.predict(source) == from_array
    assert from_path.scores == from_array.scores
    assert from_path.quality == from_array.quality


def test_max_s_limits_recordings(tiny_bundle: Path) -> None:
    model = pickle.loads(pickle.dumps(Recognizer(load_bundle(tiny_bundle), max_s=2.0)))
    assert model.predict(voice(2), sample_rate=SAMPLE_RATE).error is None
    for ask in (model.predict, model.predict_channels, lambda x, **how: list(model.timeline(x, **how))):
        with pytest.raises(AudioTooLongError, match="longer than 2 s"):
            ask(voice(2.1), sample_rate=SAMPLE_RATE)
    with pytest.raises(ConfigError, match="max_s"):
        Recognizer(load_bundle(tiny_bundle), max_s=0)


def test_one_clip_equals_batch(model: Recognizer) -> None:
    sounds = [voice(s, pitch_hz=100 + 30 * s) for s in (0.7, 2.0, 4.5, 1.1)]
    together = model.probabilities(model.logits(sounds))
    for x, row in zip(sounds, together, strict=True):
        alone = model.predict(x, sample_rate=SAMPLE_RATE).scores
        np.testing.assert_allclose(list(alone.values()), row, atol=1e-5)


def test_stereo_48_khz_equals_mono_16_khz(model: Recognizer) -> None:
    """The same voice in both; the tolerance on each score is 0.01."""
    mono = model.predict(voice(3), sample_rate=SAMPLE_RATE)
    x = voice(3, rate=48_000)
    for source in (np.stack([x, x], axis=1), np.stack([1.5 * x, 0.5 * x], axis=1)):
        stereo = model.predict(source, sample_rate=48_000)
        assert close(stereo.scores, mono.scores, 0.01)
        assert stereo.label == mono.label
        assert stereo.duration_s == pytest.approx(3, abs=1e-3)


def test_restricted_labels_are_renormalized(model: Recognizer) -> None:
    x = voice(2)
    whole = model.predict(x, sample_rate=SAMPLE_RATE).scores
    for labels in (["Anger", "sadness"], "angry,sad", ("angry", "sad", "sad")):
        some = model.predict(x, sample_rate=SAMPLE_RATE, labels=labels)
        total = whole["angry"] + whole["sad"]
        assert list(some.scores) == ["angry", "sad"]
        assert some.scores["angry"] == pytest.approx(whole["angry"] / total)
        assert sum(some.scores.values()) == pytest.approx(1, abs=1e-9)
    assert model.predict(x, sample_rate=SAMPLE_RATE, labels="fear").scores == {"fear": 1.0}


def test_probabilities_of_extreme_logits(model: Recognizer) -> None:
    p = model.probabilities(np.array([[1e4, -1e4, 0, 0, 0], [-1e30, 1e30, 0, 0, 0]], np.float32))
    np.testing.assert_allclose(p.sum(axis=-1), 1)
    np.testing.assert_array_equal(p.argmax(axis=-1), [0, 1])


def test_predict_has_no_side_effects(model: Recognizer) -> None:
    x = voice(2)
    before = x.copy()
    labels = ["sad", "angry"]
    answers = [model.predict(x, sample_rate=SAMPLE_RATE, labels=labels) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    np.testing.assert_array_equal(x, before)
    assert labels == ["sad", "angry"]


def test_recognizer_in_many_threads(model: Recognizer) -> None:
    sounds = [voice(1 + i / 2, pitch_hz=100 + 20 * i) for i in range(6)] + [talk()]
    alone = [model.predict(x, sample_rate=SAMPLE_RATE) for x in sounds]
    together: dict[int, Prediction] = {}

    def work(i: int) -> None:
        for _ in range(5):
            together[i] = model.predict(sounds[i], sample_rate=SAMPLE_RATE)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(sounds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[i] for i in range(len(sounds))] == alone


# ------------------------------------------------------------------------------------------ abstaining


@pytest.mark.parametrize("duration_s", [0.01, 2, 9])
@pytest.mark.parametrize("vad", ["on", "off"])
def test_silence_has_no_label(model: Recognizer, duration_s: float, vad: Any) -> None:
    p = model.predict(pause(duration_s), sample_rate=SAMPLE_RATE, vad=vad)
    assert (p.label, p.reason, p.scores, p.confidence) == (None, "silence", {}, None)
    assert p.duration_s == duration_s
    assert p.quality is not None
    assert p.quality.level_dbfs is None


@pytest.mark.parametrize("n", [1, 160, 7999])
def test_short_sound_is_too_short(model: Recognizer, n: int) -> None:
    p = model.predict(voice(1)[2000 : 2000 + n], sample_rate=SAMPLE_RATE)
    assert (p.label, p.reason, p.scores) == (None, "too_short", {})
    assert model.predict(voice(1)[:8000], sample_rate=SAMPLE_RATE).reason is None  # min_s is enough


def hum(duration_s: float) -> np.ndarray:
    """A faint tone: above silence, and no speech to the detector."""
    t = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.001 * np.sin(2 * np.pi * 1000 * t)).astype(np.float32)


def test_clip_without_speech(model: Recognizer) -> None:
    p = model.predict(hum(2), sample_rate=SAMPLE_RATE)
    assert (p.label, p.reason) == (None, "no_speech")
    assert sum(p.scores.values()) == pytest.approx(1)
    assert p.confidence == max(p.scores.values())
    assert p.quality is not None
    assert p.quality.speech_s == 0
    off = model.predict(hum(2), sample_rate=SAMPLE_RATE, vad="off")
    assert off.label is not None
    assert off.scores == p.scores
    assert off.quality is not None
    assert off.quality.speech_s is None
    assert (
        Recognizer(load_bundle(model._bundle.path or ""), vad="off").predict(hum(2), sample_rate=16000) == off
    )


def test_long_recording_without_speech(model: Recognizer) -> None:
    p = model.predict(hum(20), sample_rate=SAMPLE_RATE)
    assert (p.label, p.reason, p.scores, p.confidence) == (None, "no_speech", {}, None)
    assert model.predict(hum(20), sample_rate=SAMPLE_RATE, vad="off").label is not None


def test_uncertain_clip_has_scores(make_bundle: Callable[..., Path]) -> None:
    from conftest import tiny_spec

    unsure = Recognizer(load_bundle(make_bundle(temperature=100.0, abstain=tiny_spec().abstain)))
    sure = unsure.predict(voice(2), sample_rate=SAMPLE_RATE)
    assert sure.label is not None
    assert sure.confidence is not None
    abstain = Abstain(confidence=sure.confidence + 0.01)
    p = Recognizer(load_bundle(make_bundle(temperature=100.0, abstain=abstain))).predict(
        voice(2), sample_rate=SAMPLE_RATE
    )
    assert (p.label, p.reason, p.scores, p.confidence) == (None, "uncertain", sure.scores, sure.confidence)


# ------------------------------------------------------------------------------------------ long recordings


def test_long_recording_is_window_mean(model: Recognizer) -> None:
    """The second road: windows cut by hand, side by side, each frame of 30 ms judged by the nearest."""
    x = np.concatenate([voice(6.2), voice(5.3, pitch_hz=210, formants_hz=DARK)])
    ends = [*range(48_000, len(x) + 1, 48_000), len(x)]
    starts = [max(0, end - 48_000) for end in ends]
    each = model.probabilities(
        np.concatenate([model.logits([x[a:b]]) for a, b in zip(starts, ends, strict=True)])
    )
    centres = (np.array(starts) + np.array(ends)) / 2
    frames = (np.arange(len(x) // FRAME) + 0.5) * FRAME
    nearest = np.abs(frames[:, None] - centres).argmin(axis=1)
    p = model.predict(x, sample_rate=SAMPLE_RATE, vad="off")
    np.testing.assert_allclose(list(p.scores.values()), each[nearest].mean(axis=0), atol=0.005)
    assert p.duration_s == 11.5


def test_pauses_have_no_weight(model: Recognizer) -> None:
    speech = np.concatenate([voice(4), voice(4, pitch_hz=210, formants_hz=DARK)])
    without = model.predict(speech, sample_rate=SAMPLE_RATE)
    padded = np.concatenate([speech, pause(60)])
    assert close(model.predict(padded, sample_rate=SAMPLE_RATE).scores, without.scores, 0.06)


def test_windows_start_above_clip_s(model: Recognizer) -> None:
    """Up to clip_s it is one run over all; one sample more and it is windows."""
    x = np.concatenate([voice(3), voice(3.1, pitch_hz=210, formants_hz=DARK)])
    whole = model.predict(x[:96_000], sample_rate=SAMPLE_RATE).scores
    np.testing.assert_allclose(
        list(whole.values()), model.probabilities(model.logits([x[:96_000]]))[0], rtol=1e-9
    )
    assert not close(model.predict(x[:96_001], sample_rate=SAMPLE_RATE).scores, whole, 0.005)


def long_file(path: Path, minutes: int) -> Path:
    piece = (np.concatenate([talk(), pause(13)])[: 30 * SAMPLE_RATE] * 32767).astype(np.int16)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for _ in range(2 * minutes):
            file.write(piece)
    return path


def peak_bytes(work: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_bounded(model: Recognizer, tmp_path: Path) -> None:
    short, long = long_file(tmp_path / "1.wav", 1), long_file(tmp_path / "4.wav", 4)
    model.predict(short)
    for work in (model.predict, lambda path: [None for _ in model.timeline(path)]):
        few, many = (peak_bytes(lambda path=path, work=work: work(path)) for path in (short, long))
        assert many < few + 500_000


# ------------------------------------------------------------------------------------------ streams


def segments(found: list[Window | Segment]) -> list[Segment]:
    return [each for each in found if isinstance(each, Segment)]


TALK = talk()


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 60_000).map(lambda n: n + 100), min_size=1, max_size=5),
    grid=st.sampled_from([{}, {"window_s": 2.0, "hop_s": 0.37}, {"window_s": 0.5, "hop_s": 0.1}]),
    vad=st.sampled_from(["on", "off"]),
)
def test_stream_equals_timeline(
    model: Recognizer, sizes: list[int], grid: dict[str, float], vad: Any
) -> None:
    whole = model.stream(sample_rate=SAMPLE_RATE, vad=vad, **grid)
    expected = whole.push(TALK) + whole.flush()
    found = streamed(model.stream(sample_rate=SAMPLE_RATE, vad=vad, **grid), TALK, sizes)
    assert windows(found) == windows(expected)
    assert segments(found) == segments(expected)
    assert segments(found) == list(model.timeline(TALK, sample_rate=SAMPLE_RATE, vad=vad, **grid))


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
def test_stream_at_other_rate_equals_file(model: Recognizer, rate: int, tmp_path: Path) -> None:
    rate_of_voice = max(rate, 16_000)
    x = np.concatenate(
        [voice(3, rate=rate_of_voice), voice(3, pitch_hz=210, formants_hz=DARK, rate=rate_of_voice)]
    )
    path = tmp_path / "call.wav"
    path.write_bytes(wav(x, rate))
    expected = list(model.timeline(path))
    assert expected
    found = segments(streamed(model.stream(sample_rate=rate), x, [4801, 17, 960]))
    assert [(s.start_s, s.end_s, s.label, s.scores) for s in found] == [
        (s.start_s, s.end_s, s.label, s.scores) for s in expected
    ]
    assert {s.file for s in expected} == {str(path)}


def test_timeline_finds_two_speakers(model: Recognizer) -> None:
    bright = model.predict(voice(3), sample_rate=SAMPLE_RATE).label
    dark = model.predict(voice(3, pitch_hz=210, formants_hz=DARK), sample_rate=SAMPLE_RATE).label
    found = list(model.timeline(TALK, sample_rate=SAMPLE_RATE))
    assert [s.label for s in found] == [bright, dark, bright]
    for segment, (start_s, end_s) in zip(found, [(0.4, 4.7), (6.2, 10.3), (10.3, 14.7)], strict=True):
        assert segment.start_s == pytest.approx(start_s, abs=1.8)  # windows of 3 s, smoothed
        assert segment.end_s == pytest.approx(end_s, abs=1.8)
        assert sum(segment.scores.values()) == pytest.approx(1, abs=1e-9)


def test_window_equals_clip(model: Recognizer) -> None:
    found = windows(streamed(model.stream(sample_rate=SAMPLE_RATE, hop_s=0.5), TALK, [3000]))
    assert len(found) == int(len(TALK) / 8000)
    for window in found:
        x = TALK[round(window.start_s * SAMPLE_RATE) : round(window.end_s * SAMPLE_RATE)]
        assert len(x) == round((window.end_s - window.start_s) * SAMPLE_RATE)
        if window.scores:
            assert window.scores == model.predict(x, sample_rate=SAMPLE_RATE, vad="off").scores
        else:
            assert window.speech < MIN_SPEECH_SHARE
    assert not found[-1].scores


def test_window_latency(model: Recognizer) -> None:
    stream = model.stream(sample_rate=SAMPLE_RATE)
    x = voice(3)
    assert stream.push(x[:15_999]) == []
    (window,) = stream.push(x[15_999:16_000])
    assert (window.start_s, window.end_s) == (0, 1)


def test_chunk_types(model: Recognizer) -> None:
    pcm = (voice(2.5) * 32767).astype(np.int16)
    expected = streamed(model.stream(sample_rate=SAMPLE_RATE), pcm / np.float32(32768), [16_000])
    stereo = np.stack([pcm, pcm], axis=1)
    assert streamed(model.stream(sample_rate=SAMPLE_RATE), pcm, [999]) == expected
    assert streamed(model.stream(sample_rate=SAMPLE_RATE), stereo, [4321]) == expected
    stream = model.stream(sample_rate=SAMPLE_RATE)
    assert stream.push(np.zeros(0, np.float32)) == []
    assert stream.push(pcm) + stream.push(pcm[:0]) + stream.flush() == expected


def test_stream_survives_bad_chunk(model: Recognizer) -> None:
    x = voice(2.5)
    stream = model.stream(sample_rate=SAMPLE_RATE)
    found = stream.push(x[:20_000])
    for bad in (np.array([np.nan]), np.zeros((2, 2, 2)), np.array(["a"])):
        with pytest.raises(AudioValueError):
            stream.push(bad)
    found += stream.push(x[20_000:]) + stream.flush()
    assert found == streamed(model.stream(sample_rate=SAMPLE_RATE), x, [len(x)])


def test_stream_ends_once(model: Recognizer) -> None:
    stream = model.stream(sample_rate=SAMPLE_RATE)
    assert stream.flush() == []
    assert stream.flush() == []
    with pytest.raises(AudioValueError, match="flushed"):
        stream.push(voice(1))


def test_stream_memory_is_bounded(model: Recognizer) -> None:
    stream = model.stream(sample_rate=SAMPLE_RATE)
    block = np.concatenate([voice(1.5), pause(1)])

    def minutes(n: int) -> None:
        for _ in range(24 * n):
            stream.push(block)

    minutes(1)
    few, many = peak_bytes(lambda: minutes(1)), peak_bytes(lambda: minutes(5))
    assert many < few + 200_000


# ------------------------------------------------------------------------------------------ channels


@pytest.fixture
def call(tmp_path: Path) -> Path:
    """A two-channel call: someone on each side."""
    left, right = voice(4), np.concatenate([voice(3, pitch_hz=210, formants_hz=DARK), pause(1)])
    path = tmp_path / "call.wav"
    path.write_bytes(wav(np.stack([left, right], axis=1)))
    return path


def test_channels_are_predicted(model: Recognizer, call: Path) -> None:
    left, right = model.predict_channels(call)
    assert (left.channel, right.channel) == (0, 1)
    assert left.label != right.label
    assert [left, right] == [model.predict(call, channels=i) for i in (0, 1)]
    assert [left, right] == list(model.predict_many([call], channels="each"))
    assert model.predict(call, channels="1") == right
    assert model.predict(call).channel is None
    with pytest.raises(AudioValueError, match="predict_channels"):
        model.predict(call, channels="each")
    with pytest.raises(AudioValueError, match="no channel 2"):
        model.predict(call, channels=2)


def test_channel_timelines_equal_single(model: Recognizer, call: Path) -> None:
    both = list(model.timeline(call, channels="each"))
    for i in (0, 1):
        alone = list(model.timeline(call, channels=i))
        assert alone
        assert [s for s in both if s.channel == i] == alone
    assert {s.channel for s in model.timeline(call)} == {None}


# ------------------------------------------------------------------------------------------ wrong arguments


def test_wrong_arguments_are_refused(model: Recognizer) -> None:
    """Also where the answer is an iterator that nobody has asked yet."""
    x: Any = voice(1)
    wrong: list[tuple[type[Exception], dict[str, Any]]] = [
        (LabelError, {"labels": ["hapy"]}),
        (LabelError, {"labels": ["calm"]}),
        (LabelError, {"labels": []}),
        (ConfigError, {"vad": "maybe"}),
    ]
    for error, kwargs in wrong:
        for call in (model.predict, model.predict_channels, model.timeline):
            with pytest.raises(error):
                call(x, sample_rate=SAMPLE_RATE, **kwargs)
        with pytest.raises(error):
            model.predict_many(["a"], **kwargs)
        with pytest.raises(error):
            model.stream(sample_rate=SAMPLE_RATE, **kwargs)
    for kwargs in (
        {"window_s": 0.4},
        {"window_s": 6.1},
        {"hop_s": 3.5},
        {"hop_s": 0.05},
        {"hop_s": float("nan")},
    ):
        with pytest.raises(ConfigError, match=r"_s is"):
            model.timeline(x, sample_rate=SAMPLE_RATE, **kwargs)
    for channels in ("left", -1, 1.5):
        for call in (model.timeline, model.predict):
            with pytest.raises(AudioValueError):
                call(x, sample_rate=SAMPLE_RATE, channels=channels)
        with pytest.raises(AudioValueError):
            model.predict_many(["a"], channels=channels)
    for rate in (0, 16, 16_000.5, None):
        with pytest.raises(AudioValueError):
            model.stream(sample_rate=rate)
    with pytest.raises(ConfigError, match="expected several"):
        model.predict_many("clip.wav")
    with pytest.raises(ConfigError, match="workers"):
        model.predict_many(["a"], workers=0)
    with pytest.raises(ConfigError, match="vad"):
        Recognizer(model._bundle, vad="yes")  # type: ignore[arg-type]
    with pytest.raises(AudioNotFoundError):
        model.predict("nowhere.wav")
    with pytest.raises(AudioNotFoundError):
        next(model.timeline("nowhere.wav"))


def test_labels_from_generator(model: Recognizer) -> None:
    def names() -> Iterator[str]:
        yield from ("sad", "angry")

    x = voice(8)
    assert list(model.predict(x, sample_rate=SAMPLE_RATE, labels=names()).scores) == ["sad", "angry"]
    (first, *_) = model.timeline(np.stack([x, x], axis=1), sample_rate=16000, labels=names(), channels="each")
    assert list(first.scores) == ["sad", "angry"]


# ------------------------------------------------------------------------------------------ other processes


def test_recognizer_pickles(model: Recognizer) -> None:
    again = pickle.loads(pickle.dumps(model))
    x = voice(2)
    assert again.predict(x, sample_rate=SAMPLE_RATE) == model.predict(x, sample_rate=SAMPLE_RATE)
    assert repr(again) == repr(model)


def test_replaced_bundle_is_refused(make_bundle: Callable[..., Path]) -> None:
    from conftest import tiny_onnx, tiny_spec
    from emovox.bundles import write_bundle

    folder = make_bundle()
    data = pickle.dumps(Recognizer(load_bundle(folder)))
    write_bundle(folder, tiny_onnx(seed=7), tiny_spec(), replace=True)
    with pytest.raises(BundleCorruptError, match="replaced"):
        pickle.loads(data)
    in_memory = Recognizer(Bundle(tiny_spec(), tiny_onnx()))
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(in_memory)
