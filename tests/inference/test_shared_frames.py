"""Windows that share frames: each second is encoded once, and the answers depend on no chunking."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_streaming_net, tiny_adaptive_onnx, tiny_spec
from emovox.audio import SAMPLE_RATE
from emovox.bundles import Bundle, StreamMemory, load_bundle, write_bundle, write_standalone
from emovox.errors import BundleCorruptError, BundleVersionError
from emovox.inference.recognizer import Recognizer
from emovox.results import Segment
from speech import pause, talk, voice
from streams import streamed, windows

torch = pytest.importorskip("torch")

TALK = talk()
FRAME = 320


@pytest.fixture(scope="module")
def model(streaming_bundle: Path) -> Recognizer:
    return Recognizer(load_bundle(streaming_bundle))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, tuple[int, int]]]:
    """Samples, frames in the memory and span of every run over a block."""
    found: list[tuple[int, int, tuple[int, int]]] = []
    original = Bundle.run_block

    def run_block(self: Bundle, sound: Any, memory: Any, span: Any, adaptation: Any = None) -> Any:
        found.append((len(sound), 0 if memory is None else memory.shape[1], span))
        return original(self, sound, memory, span, adaptation)

    monkeypatch.setattr(Bundle, "run_block", run_block)
    return found


@settings(max_examples=15)
@given(
    sizes=st.lists(st.integers(100, 60_000), min_size=1, max_size=5),
    vad=st.sampled_from(["on", "off"]),
    adapt=st.booleans(),
)
def test_stream_equals_timeline(model: Recognizer, sizes: list[int], vad: Any, adapt: bool) -> None:
    whole = model.stream(sample_rate=SAMPLE_RATE, vad=vad, adapt=adapt)
    expected = whole.push(TALK) + whole.flush()
    found = streamed(model.stream(sample_rate=SAMPLE_RATE, vad=vad, adapt=adapt), TALK, sizes)
    assert found == expected
    timeline = model.timeline(TALK, sample_rate=SAMPLE_RATE, vad=vad, adapt=adapt)
    assert [each for each in found if isinstance(each, Segment)] == list(timeline)


def test_windows_equal_net(model: Recognizer) -> None:
    x = voice(6.4)
    found = windows(streamed(model.stream(sample_rate=SAMPLE_RATE, vad="off"), x, [4000]))
    net = make_streaming_net()
    memory, offset = torch.zeros(1, 0, net.n_columns), torch.zeros(1, len(net.net.mean))
    assert len(found) == 7
    for window in found[:-1]:
        start, end = round(window.start_s * SAMPLE_RATE), round(window.end_s * SAMPLE_RATE)
        block = torch.from_numpy(x[end - SAMPLE_RATE : end])[None]
        first = end - block.shape[1] - memory.shape[1] * FRAME
        span = torch.tensor([[(start - first) // FRAME, -((first - end) // FRAME)]])
        with torch.inference_mode():
            logits, *_, memory = net(block, torch.tensor([block.shape[1]]), offset, memory, span)
        expected = model.probabilities(logits[0].numpy())
        np.testing.assert_allclose(list(window.scores.values()), expected, atol=1e-4)
    last = model.predict(x[-3 * SAMPLE_RATE :], sample_rate=SAMPLE_RATE, vad="off")
    assert found[-1].scores == last.scores


def test_each_second_is_encoded_once(model: Recognizer, runs: list[tuple[int, int, tuple[int, int]]]) -> None:
    streamed(model.stream(sample_rate=SAMPLE_RATE, vad="off"), voice(6.4), [4000])
    assert [n for n, _, _ in runs] == [SAMPLE_RATE] * 6
    assert [rows for _, rows, _ in runs] == [0, 50, 100, 100, 100, 100]
    assert [span for _, _, span in runs] == [(0, 50), (0, 100), *[(0, 150)] * 4]


def test_pause_begins_anew(model: Recognizer, runs: list[tuple[int, int, tuple[int, int]]]) -> None:
    x = np.concatenate([voice(3), pause(4.5), voice(3.5)])
    found = windows(streamed(model.stream(sample_rate=SAMPLE_RATE), x, [4000]))
    is_scored = [bool(window.scores) for window in found]
    assert not all(is_scored[3:7])
    begun = [i for i, (_, rows, _) in enumerate(runs) if rows == 0]
    assert len(begun) == 2
    n, _, (start, stop) = runs[begun[1]]
    assert n % FRAME == 0
    assert n < 2 * SAMPLE_RATE  # not the silence before
    assert (start, stop) == (0, n // FRAME)
    assert sum(is_scored) == len(runs)


def test_other_windows_are_scored_alone(
    model: Recognizer, runs: list[tuple[int, int, tuple[int, int]]]
) -> None:
    for grid in ({"hop_s": 0.5}, {"window_s": 4.0}, {"window_s": 1.0}):
        for window in windows(streamed(model.stream(sample_rate=SAMPLE_RATE, **grid), TALK, [9000])):
            if window.scores:
                assert sum(window.scores.values()) == pytest.approx(1)
    assert runs == []


def test_channels_remember_their_own_sound(model: Recognizer) -> None:
    left, right = TALK, np.roll(TALK, 50_000)
    both = model.timeline(np.stack([left, right], 1), sample_rate=SAMPLE_RATE, channels="each")
    segments = sorted(both, key=lambda each: each.channel)
    alone = [
        replace(each, channel=channel)
        for channel, x in enumerate((left, right))
        for each in model.timeline(x, sample_rate=SAMPLE_RATE)
    ]
    assert segments == alone


def test_clips_equal_net(model: Recognizer) -> None:
    net = make_streaming_net().net
    for seconds in (0.6, 2.0, 5.9):
        x = voice(seconds)
        with torch.inference_mode():
            waveform, lengths = torch.from_numpy(x)[None], torch.tensor([len(x)])
            logits, embedding, _ = net(waveform, lengths, torch.zeros(1, len(net.mean)))
        np.testing.assert_allclose(model.logits([x])[0], logits[0], atol=1e-4)
        found = model.embed(x, sample_rate=SAMPLE_RATE, vad="off")
        np.testing.assert_allclose(found, embedding[0], atol=1e-3)


def test_clip_is_explained(model: Recognizer) -> None:
    found = model.explain(voice(2), sample_rate=SAMPLE_RATE)
    assert found.label in model.labels


def test_standalone_graph_is_one_of_clips(streaming_bundle: Path, model: Recognizer, tmp_path: Path) -> None:
    write_standalone(streaming_bundle, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert {port.name for port in session.get_inputs()} == {"waveform", "lengths", "offset"}
    assert {port.name for port in session.get_outputs()} == {"logits", "embedding", "speech"}
    x = voice(2)
    offset = np.zeros((1, model.embedding_size), np.float32)
    feed = {"waveform": x[None], "lengths": np.array([len(x)]), "offset": offset}
    np.testing.assert_allclose(session.run(["logits"], feed)[0], model.logits([x]), atol=1e-5)


def test_graph_without_memory_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    spec = tiny_spec(schema=3, stream=StreamMemory(block_s=1.0, memory_s=2.0, frames_per_s=50.0))
    with pytest.raises(BundleCorruptError, match="no input memory"):
        write_bundle(tmp_path / "bundle", tiny_adaptive_onnx(), spec)


@pytest.mark.parametrize(
    ("port", "told"), [("span", "no input span"), ("next_memory", "no output next_memory")]
)
def test_ports_of_a_memory_are_strict(streaming_bundle: Path, port: str, told: str) -> None:
    import onnx

    proto = onnx.load(str(streaming_bundle / "model.onnx"))
    for ports in (proto.graph.input, proto.graph.output):
        for value in ports:
            if value.name == port:
                value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    for node in proto.graph.node:  # onnxruntime checks types where a port is used
        for i, name in enumerate(node.input):
            node.input[i] = f"{port}_cast" if name == port else name
    if port == "span":
        cast = onnx.helper.make_node("Cast", ["span"], ["span_cast"], to=onnx.TensorProto.INT64)
        proto.graph.node.insert(0, cast)
    else:
        for node in proto.graph.node:
            for i, name in enumerate(node.output):
                node.output[i] = "single_memory" if name == port else name
        cast = onnx.helper.make_node("Cast", ["single_memory"], [port], to=onnx.TensorProto.DOUBLE)
        proto.graph.node.append(cast)
    spec = load_bundle(streaming_bundle).spec
    with pytest.raises(BundleCorruptError, match=told):
        Bundle(spec, proto.SerializeToString())


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"block_s": 0.0, "memory_s": 2.0, "frames_per_s": 50.0}, "block_s"),
        ({"block_s": 1.0, "memory_s": -1.0, "frames_per_s": 50.0}, "memory_s"),
        ({"block_s": 1.0, "memory_s": 2.0, "frames_per_s": 7.0}, "whole samples"),
        ({"block_s": 0.03, "memory_s": 2.0, "frames_per_s": 50.0}, "whole frames"),
    ],
)
def test_memory_of_spec_is_checked(values: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        StreamMemory(**values)


def test_memory_needs_schema_3(streaming_bundle: Path) -> None:
    spec = load_bundle(streaming_bundle).spec
    assert spec.to_dict()["stream"] == {"block_s": 1.0, "memory_s": 2.0, "frames_per_s": 50.0}
    with pytest.raises(ValueError, match="schema: 1, expected 3"):
        replace(spec, schema=1)
    with pytest.raises(BundleVersionError, match="update emovox"):
        type(spec).from_json(spec.to_json().replace('"schema": 3', '"schema": 4').encode())
    assert "stream" not in tiny_spec().to_dict()
