"""Explanations: a planted cue is found where it is, in time and in frequency; silence decides nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emovox.audio import SAMPLE_RATE
from emovox.bundles import Bundle, load_bundle
from emovox.errors import AudioTooLongError, AudioValueError, ConfigError, LabelError
from emovox.inference.explanation import MAX_RUNS, N_BANDS, N_MAP_BANDS, _mel_bands, _Occlusion
from emovox.inference.recognizer import Recognizer
from emovox.inference.scorer import Scorer
from signals import speech, tone
from speech import pause, voice, wav


def tone_onnx(hz: float) -> bytes:
    """A graph whose first logit is the log energy around one frequency, and whose second is its negative."""
    from onnx import TensorProto, checker, helper, numpy_helper

    t = np.arange(512) / SAMPLE_RATE
    waves = np.hanning(512) * np.stack([np.cos(2 * np.pi * hz * t), np.sin(2 * np.pi * hz * t)])
    numbers = {
        "kernel": waves[:, None].astype(np.float32),
        "floor": np.float32(1e-6),
        "signs": np.array([[0.5, -0.5]], np.float32),
        "axis_1": np.array([1]),
    }
    node, info = helper.make_node, helper.make_tensor_value_info
    nodes = [
        node("Unsqueeze", ["waveform", "axis_1"], ["wave"]),
        node("Conv", ["wave", "kernel"], ["bands"], pads=[256, 256], strides=[64]),
        node("Mul", ["bands", "bands"], ["power"]),
        node("ReduceMean", ["power"], ["mean3"], axes=[2], keepdims=0),
        node("ReduceMean", ["mean3"], ["mean"], axes=[1], keepdims=1),
        node("Add", ["mean", "floor"], ["floored"]),
        node("Log", ["floored"], ["log"]),
        node("MatMul", ["log", "signs"], ["by_sound"]),
        # The contract has lengths; of a single clip, which is not padded, they change nothing.
        node("Cast", ["lengths"], ["n"], to=TensorProto.FLOAT),
        node("Sub", ["n", "n"], ["nothing"]),
        node("Unsqueeze", ["nothing", "axis_1"], ["column"]),
        node("Add", ["by_sound", "column"], ["logits"]),
    ]
    inputs = [info("waveform", TensorProto.FLOAT, ["b", "n"]), info("lengths", TensorProto.INT64, ["b"])]
    outputs = [info("logits", TensorProto.FLOAT, ["b", 2])]
    tensors = [numpy_helper.from_array(np.asarray(x), name) for name, x in numbers.items()]
    graph = helper.make_graph(nodes, "tone", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    return bytes(model.SerializeToString())


@cache
def tone_model(hz: float) -> Recognizer:
    """It is sure of anger when there is a tone of this frequency."""
    pytest.importorskip("onnx")
    from conftest import tiny_spec

    return Recognizer(Bundle(tiny_spec(("angry", "neutral"), temperature=1.0), tone_onnx(hz)))


@pytest.fixture(scope="module")
def model(make_bundle: Callable[..., Path]) -> Recognizer:
    return Recognizer(load_bundle(make_bundle(seed=3, clip_s=6.0, temperature=1.5)))


def cell_of(edges: tuple[float, ...], value: float) -> int:
    return bisect_right(edges, value) - 1


@given(hz=st.sampled_from([140.0, 330.0, 700.0, 1250.0, 2100.0, 3900.0, 6500.0]), start_s=st.floats(0, 1.85))
@settings(max_examples=25)
def test_planted_tone_is_found(hz: float, start_s: float) -> None:
    x, burst = speech(2.0), tone(hz, 0.15)
    first = round(start_s * SAMPLE_RATE)
    x[first : first + len(burst)] += burst
    found = tone_model(hz).explain(x, "angry", sample_rate=SAMPLE_RATE)
    middle_s = start_s + 0.075
    assert abs(int(np.argmax(found.time_drops)) - cell_of(found.times_s, middle_s)) <= 1
    assert abs(int(np.argmax(found.band_drops)) - cell_of(found.bands_hz, hz)) <= 1
    row, column = np.unravel_index(np.argmax(found.map_drops), np.shape(found.map_drops))
    assert abs(int(row) - cell_of(found.map_times_s, middle_s)) <= 1
    assert abs(int(column) - cell_of(found.map_bands_hz, hz)) <= 1
    assert found.main_span_s is not None
    assert found.main_span_s[0] - 0.1 <= middle_s <= found.main_span_s[1] + 0.1
    assert found.main_band_hz is not None
    low, high = (cell_of(found.bands_hz, edge) for edge in found.main_band_hz)
    assert low - 1 <= cell_of(found.bands_hz, hz) <= high
    other = tone_model(hz).explain(x, "neutral", sample_rate=SAMPLE_RATE)
    np.testing.assert_allclose(other.time_drops, np.negative(found.time_drops), atol=1e-6)


@pytest.mark.parametrize("n", [N_BANDS, N_MAP_BANDS])
def test_bands_add_up_to_the_clip(n: int) -> None:
    x = speech(0.7)
    edges = _mel_bands(n)
    occlusion = _Occlusion(x)
    total = sum(occlusion.remove_band(band) for band in pairwise(edges))
    np.testing.assert_allclose(total, x, atol=1e-5)


def test_occluded_part_is_as_quiet_as_the_noise() -> None:
    rng = np.random.default_rng(1)
    noise = (0.001 * rng.standard_normal(2 * SAMPLE_RATE)).astype(np.float32)
    x = noise.copy()
    x[8000:16000] += voice(0.5)
    rest = x - _Occlusion(x).to_noise((8000, 16000), (0, SAMPLE_RATE))
    assert np.abs(rest[9000:15000]).max() < 0.01 < np.abs(x[9000:15000]).max()
    np.testing.assert_array_equal(rest[:7000], x[:7000])
    np.testing.assert_array_equal(rest[17000:], x[17000:])


def test_silence_has_no_value(model: Recognizer) -> None:
    x = np.concatenate([pause(0.5), voice(1.0), pause(0.5)])
    found = model.explain(x, sample_rate=SAMPLE_RATE)
    drops = np.array(found.time_drops)
    assert len(drops) == 20
    assert not drops[[*range(4), *range(16, 20)]].any()
    assert drops[5:15].all()
    assert not np.array(found.map_drops)[[0, 1, 8, 9]].any()
    assert found.n_runs < 1 + len(drops) + len(found.band_drops) + np.size(found.map_drops)


def test_explanation_is_of_the_prediction(model: Recognizer, tmp_path: Path) -> None:
    file = tmp_path / "clip.wav"
    file.write_bytes(wav(voice(1.5)))
    found, predicted = model.explain(file), model.predict(file)
    assert (found.label, found.score, found.scores) == (
        predicted.label,
        predicted.confidence,
        predicted.scores,
    )
    assert (found.file, found.model, found.channel) == (str(file), predicted.model, None)
    assert model.explain(voice(1.5), sample_rate=SAMPLE_RATE).time_drops == found.time_drops
    least = predicted.top[-1][0]
    assert model.explain(file, least.upper()).score == predicted.scores[least]


def test_occluded_clip_keeps_its_span(adaptive_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Recognizer(load_bundle(adaptive_bundle))
    lengths, score = [], Scorer.score

    def count(self: Scorer, sound: np.ndarray) -> Any:
        lengths.append(len(sound))
        return score(self, sound)

    monkeypatch.setattr(Scorer, "score", count)
    x = np.concatenate([pause(1.2), voice(0.6), pause(0.4), voice(0.5), pause(1.5)])
    found = model.explain(x, sample_rate=SAMPLE_RATE)
    assert set(lengths) == {lengths[0]}
    assert lengths[0] < 0.8 * len(x), "the clip is cut to its speech"
    assert len(lengths) == found.n_runs
    assert found.times_s[0] > 0.5
    assert found.times_s[-1] - found.times_s[0] == pytest.approx(lengths[0] / SAMPLE_RATE)
    assert found.scores == model.predict(x, sample_rate=SAMPLE_RATE).scores


def test_cost_is_bounded(model: Recognizer) -> None:
    seen: list[tuple[int, int]] = []
    x = np.random.default_rng(2).uniform(-0.3, 0.3, 6 * SAMPLE_RATE).astype(np.float32)
    found = model.explain(x, sample_rate=SAMPLE_RATE, progress=lambda *step: seen.append(step))
    assert found.n_runs == MAX_RUNS == 185
    assert seen == [(n, 184) for n in range(1, 185)]


def test_part_of_a_recording(model: Recognizer, tmp_path: Path) -> None:
    x = np.concatenate([voice(3), voice(4, pitch_hz=190), voice(25)])
    file = tmp_path / "long.wav"
    file.write_bytes(wav(x))
    with pytest.raises(AudioTooLongError, match=r"more than 30 s .* start_s and end_s"):
        model.explain(file)
    part = model.explain(file, start_s=3.5, end_s=5.0)
    alone = model.explain(x[56_000:80_000], sample_rate=SAMPLE_RATE)
    assert (part.scores, part.time_drops, part.map_drops) == (
        alone.scores,
        alone.time_drops,
        alone.map_drops,
    )
    np.testing.assert_allclose(part.times_s, np.add(alone.times_s, 3.5))
    assert model.explain(file, start_s=31.0).times_s[-1] == pytest.approx(32.0)


def test_long_recording_is_explained_by_its_windows() -> None:
    """The tone is in one window of five, whose share of the mean probability it decides."""
    from conftest import tiny_spec

    labels, hz = ("angry", "neutral"), 1250.0
    long = Recognizer(Bundle(tiny_spec(labels, temperature=1.0, clip_s=4.0), tone_onnx(hz)), vad="off")
    x, burst = speech(14.0), tone(hz, 0.3)
    x[16_000 * 7 : 16_000 * 7 + len(burst)] += burst
    found = long.explain(x, "angry", sample_rate=SAMPLE_RATE)
    predicted = long.predict(x, sample_rate=SAMPLE_RATE)
    np.testing.assert_allclose(list(found.scores.values()), list(predicted.scores.values()), rtol=1e-9)
    assert len(found.time_drops) == 40
    assert found.times_s[-1] == 14.0
    assert abs(int(np.argmax(found.time_drops)) - cell_of(found.times_s, 7.15)) <= 1
    assert abs(int(np.argmax(found.band_drops)) - cell_of(found.bands_hz, hz)) <= 1
    # Five windows for the whole and for each band, at most two for each part of the time.
    assert found.n_runs <= 5 + 2 * 40 + 16 * 5 + 2 * 128


def test_windows_without_speech_are_not_run(adaptive_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Recognizer(load_bundle(adaptive_bundle))
    lengths, score = [], Scorer.score

    def count(self: Scorer, sound: np.ndarray) -> Any:
        lengths.append(len(sound))
        return score(self, sound)

    x = np.concatenate([pause(1), voice(2), pause(7), voice(3), pause(2)])
    predicted = model.predict(x, sample_rate=SAMPLE_RATE)
    monkeypatch.setattr(Scorer, "score", count)
    found = model.explain(x, sample_rate=SAMPLE_RATE)
    np.testing.assert_allclose(list(found.scores.values()), list(predicted.scores.values()), rtol=1e-9)
    assert found.label == predicted.label
    assert len(lengths) == found.n_runs
    assert len({*lengths}) <= 3, "the spans of the windows are found once"
    drops = np.array(found.time_drops)
    middles = (np.array(found.times_s)[1:] + np.array(found.times_s)[:-1]) / 2
    assert not drops[(middles > 4) & (middles < 9)].any()
    assert drops[(middles > 1.5) & (middles < 2.5)].all()
    with pytest.raises(AudioValueError, match="no_speech"):
        model.explain(0.004 * tone(1000, 9), sample_rate=SAMPLE_RATE)


def test_wrong_requests_are_refused(model: Recognizer, make_bundle: Callable[..., Path]) -> None:
    x = voice(1)
    for error, match, arguments in (
        (AudioValueError, "silence", {"source": pause(1)}),
        (AudioValueError, "too_short", {"source": x[4000:7000]}),
        (AudioValueError, r"lasts 1\.00 s; start_s is 2", {"start_s": 2.0}),
        (AudioValueError, "one explanation", {"channels": "each"}),
        (ConfigError, "0 <= start_s < end_s", {"start_s": 0.5, "end_s": 0.5}),
        (ConfigError, "0 <= start_s < end_s", {"start_s": -1.0}),
        (LabelError, "angy", {"label": "angy"}),
        (LabelError, "boredom", {"label": "boredom"}),
    ):
        with pytest.raises(error, match=match):
            model.explain(**({"source": x, "sample_rate": SAMPLE_RATE} | arguments))
    with pytest.raises(LabelError, match="alone"):
        Recognizer(load_bundle(make_bundle(["happy"]))).explain(x, sample_rate=SAMPLE_RATE)
