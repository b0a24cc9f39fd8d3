"""int8: what is quantised, what is refused, and that the command writes what it measured."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import emovox
from conftest import tiny_features_onnx, tiny_onnx
from emovox.bundles import read_spec
from emovox.bundles.onnx_session import OnnxModel
from emovox.cli import main
from emovox.errors import ConfigError

onnx = pytest.importorskip("onnx")
quantise = pytest.importorskip("emovox.training.quantization")

N_COLUMNS = 400


def rows(n: int, seed: int = 0) -> list[Any]:
    return list(np.random.default_rng(seed).standard_normal((n, N_COLUMNS)).astype(np.float32) * 50)


def test_int8_is_smaller_and_close() -> None:
    model = tiny_features_onnx(N_COLUMNS)
    small = quantise.to_int8(model, rows(50), kind="vector")
    assert quantise.operations(model) == ["MatMul"]
    kinds = {n.op_type for n in onnx.load_from_string(small).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    types = {t.data_type for t in onnx.load_from_string(small).graph.initializer if len(t.dims) == 2}
    assert types == {onnx.TensorProto.INT8}
    before, after = (
        OnnxModel(m, name="m", n_labels=5, kind="vector", n_columns=N_COLUMNS)(rows(40, seed=1))
        for m in (model, small)
    )
    assert 0 < np.abs(before - after).max() < 0.05 * np.abs(before).max()


def test_frame_nets_are_quantised() -> None:
    model = tiny_features_onnx(N_COLUMNS, frames=True)
    clips = [np.stack(rows(n, seed=n)) for n in (5, 9, 30)]
    small = quantise.to_int8(model, clips, kind="frames")
    graph = OnnxModel(small, name="m", n_labels=5, kind="frames", n_columns=N_COLUMNS)
    alone = np.concatenate([graph([clip]) for clip in clips])
    assert np.allclose(alone, graph(clips), atol=1e-5), "padding changes nothing"


@pytest.mark.parametrize("model", [tiny_onnx(), tiny_features_onnx(4)])
def test_small_graphs_are_refused(model: bytes) -> None:
    # In the first the filters stand before a logarithm; in the second the weights are few.
    assert quantise.operations(model) == []
    with pytest.raises(ConfigError, match="gains nothing from int8"):
        quantise.to_int8(model, [np.zeros(16_000, np.float32)], kind="waveform")


def test_trees_are_refused() -> None:
    node = onnx.helper.make_node(
        "TreeEnsembleClassifier", ["features"], ["label", "logits"], domain="ai.onnx.ml"
    )
    ports = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["b", 3]) for n in ("features",)]
    graph = onnx.helper.make_graph([node], "trees", ports, [])
    with pytest.raises(ConfigError, match="TreeEnsembleClassifier"):
        quantise.to_int8(onnx.helper.make_model(graph).SerializeToString(), rows(1), kind="vector")


def test_sensitive_layer_stays_float() -> None:
    # Of one column the values are a thousand times those of the others, which 8 bits then cannot tell apart.
    model = onnx.load_from_string(tiny_features_onnx(N_COLUMNS))
    del model.graph.node[2:4]  # nothing is squashed
    model.graph.node[-1].input[0] = "known"
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "weight")
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0] = 0
    weight.CopyFrom(onnx.numpy_helper.from_array(values, "weight"))
    items = rows(20)
    for row in items:
        row[0] *= 1e3
    with pytest.raises(ConfigError, match="cannot be quantised"):
        quantise.to_int8(model.SerializeToString(), items, kind="vector")


def test_no_calibration_clips_are_refused() -> None:
    with pytest.raises(ConfigError, match="no clips to calibrate on"):
        quantise.to_int8(tiny_features_onnx(N_COLUMNS), [], kind="vector")


# ---------------------------------------------------------------------------------------------- the command


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two speakers who train and two who are tested, two emotions: a high and a low tone."""
    rng = np.random.default_rng(0)
    lines = ["path,emotion,speaker"]
    t = np.arange(16_000) / 16_000
    for who in ("a", "b", "c", "d"):
        for n, (emotion, hz) in enumerate([("happy", 900), ("sad", 150)] * 2):
            tone = np.sin(2 * np.pi * hz * t) * 0.2 + rng.standard_normal(16_000) * 0.01
            soundfile.write(tmp_path / f"{who}{n}.wav", tone, 16_000)
            lines.append(f"{who}{n}.wav,{emotion},{who}")
    (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "clips.csv"


@pytest.fixture
def rich_bundle(tmp_path: Path) -> Path:
    """A bundle on features with weights enough to quantise."""
    from conftest import tiny_spec
    from emovox.bundles import Features, Input, write_bundle
    from emovox.features import find_feature_set

    features = find_feature_set("emovox-core")
    n = len(features.columns)
    spec = tiny_spec(input=Input(kind="vector", features=Features(**features.reference())))
    write_bundle(tmp_path / "rich", tiny_features_onnx(n), spec)
    return tmp_path / "rich"


def test_export_writes_measured_scores(
    rich_bundle: Path,
    clips: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quantise, "_MIN_WEIGHTS", 64)  # emovox-core is narrow
    out = tmp_path / "int8"
    argv = ["export", str(rich_bundle), "--int8", "--data", str(clips), "-o", str(out)]
    assert main([*argv, "--protocol", "speakers/clips-c,clips-d", "--calibration-clips", "6"]) == 0
    said = capfd.readouterr().out
    for line in (
        "calibrated on 6 clips",
        "bytes",
        "UAR",
        "speakers/clips-c,clips-d",
        "are the same",
        "ms a clip",
    ):
        assert line in said
    spec = read_spec(out)
    assert "static int8, calibrated on 6 clips of speakers/clips-c,clips-d" in spec.description
    assert [score.metric for score in spec.scores] == ["uar", "uar before int8"]
    assert all(score.n_clips == 8 and score.n_speakers == 2 for score in spec.scores)
    assert f"{spec.scores[1].value:.3f} -> {spec.scores[0].value:.3f}" in said
    assert emovox.load(out).spec.sha256 != read_spec(rich_bundle).sha256


def test_export_reports_missing_inputs(
    rich_bundle: Path, clips: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    for extra, why in [
        (["--int8"], "name them with --data"),
        (["--data", str(clips)], "are for --int8"),
        (["--int8", "--data", str(clips), "--protocol", "loso"], "is 4 splits; name one"),
    ]:
        assert main(["export", str(rich_bundle), "-o", out, *extra]) == 2
        assert why in capfd.readouterr().err
    assert not Path(out).exists()


def test_export_without_int8_copies_bundle(
    tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "copy"
    assert main(["export", str(tiny_bundle), "-o", str(out)]) == 0
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {
        p.name: p.read_bytes() for p in tiny_bundle.iterdir()
    }
    assert main(["export", str(tiny_bundle), "-o", str(out)]) == 2
    assert "holds files" in capfd.readouterr().err


def test_compressed_encoder_is_smaller_and_close() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from emovox.nets.adaptive import AdaptiveConfig, AdaptiveNet
    from emovox.nets.whisper import WhisperConfig, WhisperEncoder

    torch.manual_seed(0)
    encoder = WhisperEncoder(WhisperConfig(n_layers=1, size=64, n_mels=80, max_frames=200, level="mel"))
    torch.nn.init.normal_(encoder.positions)
    net = AdaptiveNet(encoder, AdaptiveConfig(n_labels=3, layers=(1,))).eval()
    batch, samples = torch.export.Dim("batch"), torch.export.Dim("samples", max=encoder.max_samples)
    inputs = (torch.randn(2, 16_000) * 0.1, torch.tensor([16_000, 9_000]), torch.zeros(2, 128))
    names = ["waveform", "lengths", "offset"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter
        program = torch.onnx.export(
            net,
            inputs,
            dynamo=True,
            dynamic_shapes=({0: batch, 1: samples}, {0: batch}, {0: batch}),
            input_names=names,
            output_names=["logits", "embedding", "speech"],
            verbose=False,
        )
    model = program.model_proto.SerializeToString()
    session = pytest.importorskip("onnxruntime").InferenceSession
    values = [value[:1].numpy() for value in inputs]
    before, *_ = session(model).run(None, dict(zip(names, values, strict=True)))
    examples = [np.random.default_rng(0).standard_normal(n).astype(np.float32) * 0.1 for n in (9_000, 16_000)]
    floats = []
    for compute_int8, sounds in ((True, examples), (True, ()), (False, ())):
        small = quantise.compress_encoder(model, sounds, compute_int8=compute_int8)
        after, *_ = session(small).run(None, dict(zip(names, values, strict=True)))
        operations = {node.op_type for node in onnx.load_from_string(small).graph.node}
        assert ("MatMulInteger" in operations) == compute_int8
        assert len(small) < 0.8 * len(model)
        assert 0 < np.abs(after - before).max() < 0.05
        products = [
            node.op_type for node in onnx.load_from_string(small).graph.node if "MatMul" in node.op_type
        ]
        floats.append(products.count("MatMul"))
    # The second feed-forward matrix is computed in 8 bits where its inputs could be smoothed.
    assert floats[0] == floats[1] - 1 < floats[2]


@pytest.mark.parametrize("n_frames", [1, 2, 3, 100, 101])
def test_unfolded_convolution_is_the_same(n_frames: int) -> None:
    rng = np.random.default_rng(0)
    weight, bias = (
        rng.standard_normal((8, 8, 3)).astype(np.float32),
        rng.standard_normal(8).astype(np.float32),
    )
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w", "b"], ["y"], strides=[2], pads=[1, 1], kernel_shape=[3])],
        "graph",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 8, "n"])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 8, "t"])],
        [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(bias, "b")],
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    session = pytest.importorskip("onnxruntime").InferenceSession
    x = rng.standard_normal((1, 8, n_frames)).astype(np.float32)
    (expected,) = session(proto.SerializeToString()).run(None, {"x": x})
    quantise._unfold_convolution(proto, 8)
    assert "Conv" not in {node.op_type for node in proto.graph.node}
    (found,) = session(proto.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
