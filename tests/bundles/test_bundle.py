"""A bundle is opened only when its two files are whole, agree, and keep to themselves."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import LABELS, tiny_onnx, tiny_spec
from emovox.bundles import (
    MAX_MODEL_BYTES,
    MAX_SPEC_BYTES,
    SCHEMA,
    Input,
    Score,
    Spec,
    load_bundle,
    read_spec,
    write_bundle,
)
from emovox.errors import BundleCorruptError, BundleError, BundleNotFoundError, BundleVersionError


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "mine"))


def edit(bundle: Path, **changes: Any) -> None:
    """Change keys of spec.json; ``None`` takes a key away."""
    file = bundle / "spec.json"
    spec = json.loads(file.read_text())
    for key, value in changes.items():
        spec[key] = value
        if value is None:
            del spec[key]
    file.write_text(json.dumps(spec))


def put_model(bundle: Path, model: bytes) -> None:
    """Change the model and say so in the spec, as an attacker would."""
    (bundle / "model.onnx").write_bytes(model)
    edit(bundle, sha256=hashlib.sha256(model).hexdigest())


def noises(*sizes: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [(rng.standard_normal(n) * 0.1).astype(np.float32) for n in sizes]


# ------------------------------------------------------------------------------------------ the good way


def test_bundle_round_trip(tmp_path: Path) -> None:
    spec = tiny_spec(description="Stimmung; 感情", created="")
    written = write_bundle(tmp_path / "a" / "b", tiny_onnx(), spec)
    assert written.sha256 == hashlib.sha256(tiny_onnx()).hexdigest()
    assert written.created.endswith("+00:00")
    assert read_spec(tmp_path / "a" / "b") == written == load_bundle(tmp_path / "a" / "b").spec
    assert sorted(file.name for file in (tmp_path / "a" / "b").iterdir()) == ["model.onnx", "spec.json"]


def test_logits_equal_numpy(tiny_bundle: Path) -> None:
    """The second road: the same band energies by hand."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(tiny_bundle / "model.onnx").graph
    w = {t.name: numpy_helper.to_array(t).astype(float) for t in graph.initializer}
    (x,) = noises(5000)
    padded = np.pad(x.astype(float), 64)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 128)[::64]
    power = ((frames @ w["kernel"][:, 0].T) ** 2).mean(axis=0)
    expected = np.log(power + 1e-5) @ w["weight"] + w["bias"]
    np.testing.assert_allclose(load_bundle(tiny_bundle).logits([x])[0], expected, rtol=1e-3, atol=1e-3)


def test_batch_equals_single_runs(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    sounds = noises(48000, 1, 8000, 70001, 63)
    together = bundle.logits(sounds)
    assert together.shape == (5, len(LABELS))
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, np.concatenate([bundle.logits([x]) for x in sounds]), atol=1e-5)
    assert bundle.logits([]).shape == (0, len(LABELS))


def test_bundle_in_many_threads(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    sounds = noises(*range(8000, 24000, 2000))
    alone = [bundle.logits([x]) for x in sounds]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(10):
            if not np.array_equal(bundle.logits([sounds[i]]), alone[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(sounds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# ------------------------------------------------------------------------------------------ writing


def test_existing_bundle_is_kept(bundle: Path) -> None:
    before = (bundle / "spec.json").read_bytes()
    with pytest.raises(BundleError, match="already holds"):
        write_bundle(bundle, tiny_onnx(seed=1), tiny_spec())
    assert (bundle / "spec.json").read_bytes() == before
    (bundle / "spec.json").unlink()
    with pytest.raises(BundleError, match=r"already holds model\.onnx"):
        write_bundle(bundle, tiny_onnx(seed=1), tiny_spec())
    write_bundle(bundle, tiny_onnx(seed=1), tiny_spec(), replace=True)
    load_bundle(bundle)


def test_spec_is_written_last(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted writer leaves no spec, and so nothing that looks complete."""
    real = Path.replace

    def full_disk(self: Path, target: Path) -> Path:
        if Path(target).name == "spec.json":
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(BundleError, match="No space left"):
        write_bundle(bundle, tiny_onnx(seed=1), tiny_spec(), replace=True)
    assert [file.name for file in bundle.iterdir()] == ["model.onnx"]
    with pytest.raises(BundleCorruptError, match="missing"):
        load_bundle(bundle)


def test_unreadable_bundle_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BundleCorruptError, match=r"5 logits.*2 labels"):
        write_bundle(tmp_path / "b", tiny_onnx(), tiny_spec(("happy", "sad")))
    with pytest.raises(BundleCorruptError):
        write_bundle(tmp_path / "b", b"no graph", tiny_spec())
    assert not (tmp_path / "b").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot write"):
        write_bundle(tmp_path / "file", tiny_onnx(), tiny_spec())


# ------------------------------------------------------------------------------------------ the spec's door


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": None}, "labels: it is missing"),
        ({"labels": ["happy"]}, "1 labels"),
        ({"labels": []}, "labels"),
        ({"labels": ["Anger", *LABELS[1:]]}, "'Anger' is not a canonical"),
        ({"labels": ["sad", "sad", *LABELS[2:4], "calm"]}, "twice"),
        ({"labels": "sad"}, "labels"),
        ({"temprature": 1.0}, "temprature: unknown key; did you mean 'temperature'"),
        (
            {"licence": {"code": "a", "weights": "b", "commercial": False, "fee": 1}},
            r"licence\.fee: unknown key",
        ),
        ({"temperature": 0}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": float("nan")}, "NaN is no number"),
        ({"temperature": float("inf")}, "Infinity is no number"),
        ({"temperature": 10**400}, "temperature: expected a finite number"),
        ({"description": "\ud800"}, "description: expected a text"),
        ({"corpora": ["a", 1]}, r"corpora\.1: expected a text, got 1"),
        ({"scores": [{"corpus": "a"}]}, r"scores\.0\.(protocol|metric|value): it is missing"),
        ({"hop_s": 4}, "hop_s"),
        ({"min_s": 3.5}, "min_s <= window_s"),
        ({"clip_s": 1}, "window_s <= clip_s"),
        ({"window_s": -1}, "window_s"),
        ({"abstain": {"confidence": 1.5}}, r"abstain\.confidence"),
        ({"sample_rate": 8000}, "sample_rate"),
        ({"name": "../up"}, "name"),
        ({"sha256": "zz"}, "sha256"),
        ({"sha256": None}, "was changed"),
        ({"sha256": "0" * 64}, "was changed"),
        ({"schema": 0}, "schema"),
        ({"schema": "1"}, "schema"),
        ({"schema": True}, "schema"),
        ({"schema": None}, "schema"),
        ({"normaliser": {"mean": [0]}}, r"normaliser\.mean: unknown key"),
        ({"input": {"kind": "picture"}}, r"input\.kind"),
        ({"taught": "0123456789"}, "taught: expected marks"),
        ({"taught": ["01234567"]}, "taught: expected a text"),
    ],
)
def test_wrong_spec_names_key(bundle: Path, changes: dict[str, Any], words: str) -> None:
    edit(bundle, **changes)
    with pytest.raises(BundleCorruptError, match=words):
        load_bundle(bundle)


def test_training_hashes_are_kept(bundle: Path) -> None:
    edit(bundle, taught="01234567abcd+/AZ")
    found = load_bundle(bundle)
    copy = write_bundle(bundle / "copy", (bundle / "model.onnx").read_bytes(), found.spec)
    assert read_spec(bundle / "copy").taught == copy.taught == "01234567abcd+/AZ"
    edit(bundle, taught=None)
    assert load_bundle(bundle).spec.taught == ""


def test_newer_schema_is_a_version_error(bundle: Path) -> None:
    edit(bundle, schema=SCHEMA + 1, a_key_of_tomorrow=1, labels=None)
    with pytest.raises(BundleVersionError, match="update emovox"):
        load_bundle(bundle)


def test_unknown_input_is_a_version_error(bundle: Path) -> None:
    edit(bundle, input={"kind": "frames", "features": {"set": "mel-of-tomorrow", "digest": "0" * 16}})
    with pytest.raises(BundleVersionError, match=r"mel-of-tomorrow.*Update emovox"):
        load_bundle(bundle)


NO_SPECS = [b"", b"{", b"\xff\xfe{", b"[]", b"null", b"1", b"{} {}", b"[" * 100_000, b'{"schema": NaN}']


@pytest.mark.parametrize("text", [*NO_SPECS, b'{"schema": 1, "schema": 1}'])
def test_invalid_spec_is_refused(bundle: Path, text: bytes) -> None:
    (bundle / "spec.json").write_bytes(text)
    with pytest.raises(BundleCorruptError, match=r"spec\.json"):
        load_bundle(bundle)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(key=st.sampled_from([field.name for field in dataclasses.fields(Spec)]), value=JSON)
def test_spec_value_fuzz(
    tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    spec = json.loads((tiny_bundle / "spec.json").read_text())
    spec[key] = value
    (folder / "spec.json").write_text(json.dumps(spec))
    try:
        got = read_spec(folder)
    except BundleError as error:
        told = str(error)
    else:
        told = str(folder)
        # Optional keys are written only where they say something.
        again = json.loads(got.to_json()).get(key)
        assert again == value or (key == "targets" and not again and not value)
    assert str(folder) in told


# ------------------------------------------------------------------------------------------ the files' door


def test_changed_model_is_refused(bundle: Path) -> None:
    file = bundle / "model.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(BundleCorruptError, match=r"model\.onnx was changed"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", ["model.onnx", "spec.json"])
def test_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleCorruptError, match=rf"{name} is missing"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", ["nowhere", "file", "a\0b", "loop", ""])
def test_missing_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("{}")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path = str(tmp_path / name) if name else str(tmp_path / "x" / "y")
    with pytest.raises(BundleNotFoundError, match="no model bundle"):
        load_bundle(path)


@pytest.mark.parametrize("name", ["model.onnx", "spec.json"])
def test_irregular_files_are_refused(bundle: Path, name: str) -> None:
    file = bundle / name
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(BundleCorruptError):
        load_bundle(bundle)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(BundleCorruptError, match="not a regular file"):
        load_bundle(bundle)
    file.unlink()
    file.mkdir()
    with pytest.raises(BundleCorruptError, match="not a regular file"):
        load_bundle(bundle)


@pytest.mark.parametrize(("name", "limit"), [("model.onnx", MAX_MODEL_BYTES), ("spec.json", MAX_SPEC_BYTES)])
def test_giant_file_is_not_read(bundle: Path, name: str, limit: int) -> None:
    os.truncate(bundle / name, limit + 1)
    with pytest.raises(BundleCorruptError, match="bytes"):
        load_bundle(bundle)


def test_symlinked_files_are_read(bundle: Path, tmp_path: Path) -> None:
    """Download caches keep blobs elsewhere and link to them."""
    blob = tmp_path / "blob"
    (bundle / "model.onnx").rename(blob)
    (bundle / "model.onnx").symlink_to(blob)
    load_bundle(bundle)


# ------------------------------------------------------------------------------------------ the graph's door


def changed(change: Callable[[Any], None]) -> bytes:
    import onnx

    model = onnx.load_from_string(tiny_onnx())
    change(model)
    return bytes(model.SerializeToString())


def outside(tensor: Any, where: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    tensor.external_data.add(key="location", value=where)
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="length", value=str(4 * 5))


@pytest.mark.parametrize("where", ["weights.bin", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"])
@pytest.mark.parametrize("place", ["initializer", "constant", "subgraph", "function", "sparse"])
def test_external_data_is_refused(bundle: Path, where: str, place: str) -> None:
    from onnx import TensorProto, helper

    tensor = TensorProto(name="bias", data_type=1, dims=[5])
    outside(tensor, where)

    def change(model: Any) -> None:
        graph = model.graph
        constant = helper.make_node("Constant", [], ["extra"], value=tensor)
        if place == "initializer":
            outside(next(t for t in graph.initializer if t.name == "bias"), where)
        elif place == "constant":
            graph.node.insert(0, constant)
        elif place == "subgraph":
            inner = helper.make_graph([constant], "inner", [], [])
            graph.node.insert(0, helper.make_node("If", ["zero"], [], then_branch=inner, else_branch=inner))
        elif place == "function":
            model.functions.append(helper.make_function("own", "f", [], ["extra"], [constant], []))
        else:
            graph.sparse_initializer.add().values.CopyFrom(tensor)

    put_model(bundle, changed(change))
    with pytest.raises(BundleCorruptError, match="external data"):
        load_bundle(bundle)


def rename_input(model: Any) -> None:
    model.graph.input[0].name = "sound"


def drop_output(model: Any) -> None:
    del model.graph.output[:]
    model.graph.output.add().name = "mean"


def fix_length(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 16000


def other_type(model: Any) -> None:
    model.graph.input[1].type.tensor_type.elem_type = 1


@pytest.mark.parametrize("change", [rename_input, drop_output, fix_length, other_type])
def test_wrong_ports_are_refused(bundle: Path, change: Callable[[Any], None]) -> None:
    put_model(bundle, changed(change))
    with pytest.raises(BundleCorruptError, match="graph"):
        load_bundle(bundle)


@pytest.mark.parametrize("model", [b"", b"\x00", b"text, not a graph", b"\xff" * 40, b"\x08\x09"])
def test_invalid_graph_is_refused(bundle: Path, model: bytes) -> None:
    put_model(bundle, model)
    with pytest.raises(BundleCorruptError):
        load_bundle(bundle)


def test_deep_nesting_is_refused(bundle: Path) -> None:
    from onnx import helper

    def change(model: Any) -> None:
        inner = helper.make_graph([], "g", [], [])
        for _ in range(25):
            inner = helper.make_graph([helper.make_node("If", ["c"], [], then_branch=inner)], "g", [], [])
        model.graph.node.insert(0, inner.node[0])

    put_model(bundle, changed(change))
    with pytest.raises(BundleCorruptError, match="nested deeper"):
        load_bundle(bundle)


def test_non_finite_output_is_refused(bundle: Path) -> None:
    def change(model: Any) -> None:
        from onnx import numpy_helper

        bias = next(t for t in model.graph.initializer if t.name == "bias")
        bias.CopyFrom(numpy_helper.from_array(np.full(5, np.nan, np.float32), "bias"))

    put_model(bundle, changed(change))
    opened = load_bundle(bundle)
    with pytest.raises(BundleCorruptError, match="not finite"):
        opened.logits(noises(800))


def test_failing_graph_raises(bundle: Path) -> None:
    def change(model: Any) -> None:
        from onnx import helper

        model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "n"
        model.graph.node[0].CopyFrom(helper.make_node("Reshape", ["waveform", "shape"], ["wave"]))
        from onnx import numpy_helper

        model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 800]), "shape"))

    put_model(bundle, changed(change))
    opened = load_bundle(bundle)
    with pytest.raises(BundleCorruptError, match="failed"):
        opened.logits(noises(801))


def test_spec_validates_itself() -> None:
    spec = tiny_spec(
        labels=["sad", "calm"],
        temperature=2,
        scores=[{"corpus": "c", "protocol": "p", "metric": "uar", "value": 1}],
    )
    assert spec.labels == ("sad", "calm")
    assert type(spec.temperature) is float
    assert spec.scores == (Score(corpus="c", protocol="p", metric="uar", value=1.0),)
    assert Spec.from_dict(spec.to_dict()) == Spec.from_json(spec.to_json().encode()) == spec
    with pytest.raises(ValueError, match="temperature"):
        dataclasses.replace(spec, temperature=-1)
    with pytest.raises(ValueError, match="kind: 'picture' is none of waveform, frames, vector"):
        Input(kind="picture")
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"  # type: ignore[misc]
