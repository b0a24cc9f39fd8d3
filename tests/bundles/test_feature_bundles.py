"""Bundles on features: the recogniser computes what they were trained on, or refuses in words."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import emovox.features
from conftest import LABELS, tiny_features_onnx, tiny_spec
from emovox.bundles import (
    Bundle,
    Features,
    Input,
    Population,
    SpeakerNormalization,
    Spec,
    load_bundle,
    write_bundle,
)
from emovox.bundles.front_end import MAX_PARAMETER
from emovox.errors import (
    BundleCorruptError,
    BundleError,
    BundleVersionError,
    MissingExtraError,
)
from emovox.features import FeatureSet, find_feature_set
from emovox.features.feature_set import SETS
from emovox.inference.recognizer import Recognizer
from emovox.results import Segment
from speech import BRIGHT, DARK, pause, talk, voice

pytest.importorskip("onnx")

VECTOR, FRAMES = "seed-180", "seed-lstm"


def wanted(name: str, overrides: dict[str, Any] | None = None, **changes: Any) -> Features:
    """What a spec says of a set."""
    return Features(**({**find_feature_set(name, overrides).reference(), "columns": None} | changes))


def spec_of(features: Features, kind: str = "vector", **changes: Any) -> Spec:
    """The spec of a tiny bundle on these features."""
    return tiny_spec(input=Input(kind=kind, features=features), **({"temperature": 0.05} | changes))


def bundle_of(features: Features, kind: str = "vector", **changes: Any) -> Bundle:
    """An open tiny bundle on these features."""
    n = len(features.columns or find_feature_set(features.set, features.overrides).columns)
    return Bundle(spec_of(features, kind, **changes), tiny_features_onnx(n, frames=kind == "frames"))


@pytest.fixture(scope="module", params=["vector", "frames"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind: str = request.param
    features = wanted(VECTOR if kind == "vector" else FRAMES)
    n = len(find_feature_set(features.set).columns)
    where = tmp_path_factory.mktemp(kind) / "tiny"
    write_bundle(where, tiny_features_onnx(n, frames=kind == "frames"), spec_of(features, kind, clip_s=6.0))
    return where


@pytest.fixture(scope="module")
def model(folder: Path) -> Recognizer:
    """Long means above 6 s here."""
    return Recognizer(load_bundle(folder))


# ------------------------------------------------------------------------------------------ it listens


def by_hand(model: Recognizer, x: np.ndarray) -> np.ndarray:
    """What the tiny graph makes of the set's own numbers."""
    features = model.spec.input.features
    assert features is not None
    values = np.nan_to_num(find_feature_set(features.set)(x), nan=0.0).astype(np.float64)
    row = np.tanh(0.01 * values)
    if row.ndim == 2:
        row = row.mean(axis=0)
    weights = np.random.default_rng(5).standard_normal((len(row), len(LABELS))) / len(row)
    return np.asarray(row @ weights.astype(np.float32))


def test_graph_gets_feature_values(model: Recognizer) -> None:
    sounds = [voice(2.0), voice(3.1, pitch_hz=220, formants_hz=DARK)]
    expected = np.stack([by_hand(model, x) for x in sounds])
    np.testing.assert_allclose(model.logits(sounds), expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-3  # the two sounds differ


def test_spec_json_round_trip(model: Recognizer) -> None:
    spec = model.spec
    assert Spec.from_json(spec.to_json().encode()) == spec
    assert json.loads(spec.to_json())["input"]["features"]["set"] in (VECTOR, FRAMES)


def test_single_feature_run_equals_batch(model: Recognizer) -> None:
    sounds = [voice(s, pitch_hz=100 + 40 * s) for s in (0.6, 2.0, 3.3)]
    alone = np.concatenate([model.logits([x]) for x in sounds])
    np.testing.assert_allclose(model.logits(sounds), alone, atol=1e-6)


def test_predict_timeline_and_stream_answer(model: Recognizer) -> None:
    clip = model.predict(voice(3.0), sample_rate=16_000)
    assert clip.label in LABELS
    assert sum(clip.scores.values()) == pytest.approx(1)
    x = talk()
    assert model.predict(x, sample_rate=16_000).label in LABELS
    segments = list(model.timeline(x, sample_rate=16_000))
    assert segments
    stream = model.stream(sample_rate=16_000)
    found = [e for at in range(0, len(x), 7001) for e in stream.push(x[at : at + 7001])]
    assert [e for e in found + stream.flush() if isinstance(e, Segment)] == segments


TWO_VOICES = np.concatenate([voice(3.3), pause(0.7), voice(2.0, pitch_hz=210, formants_hz=DARK)])


@settings(max_examples=15)
@given(sizes=st.lists(st.integers(1, 40_000), min_size=1, max_size=6))
def test_any_chunking_gives_the_same_windows(model: Recognizer, sizes: list[int]) -> None:
    x = TWO_VOICES
    whole = model.stream(sample_rate=16_000)
    expected = whole.push(x) + whole.flush()
    stream, found, at = model.stream(sample_rate=16_000), [], 0
    for size in [*sizes, len(x)]:
        found += stream.push(x[at : at + size])
        at += size
    assert found + stream.flush() == expected


def test_unusable_sound_computes_no_features(model: Recognizer) -> None:
    assert model.predict(pause(2.0), sample_rate=16_000).reason == "silence"
    assert model.predict(voice(0.2), sample_rate=16_000).reason == "too_short"


def test_workers_give_equal_results(model: Recognizer, tmp_path: Path) -> None:
    import soundfile

    files = [tmp_path / f"{i}.wav" for i in range(3)]
    for i, file in enumerate(files):
        soundfile.write(file, voice(1.5, pitch_hz=100 + 50 * i), 16_000, subtype="FLOAT")
    alone = [model.predict(file) for file in files]
    assert list(model.predict_many(files, workers=2)) == alone
    assert pickle.loads(pickle.dumps(model)).predict(files[0]) == alone[0]


def test_threads_share_model(model: Recognizer) -> None:
    sounds = [voice(1.0, pitch_hz=100 + 20 * i) for i in range(6)]
    expected = [model.predict(x, sample_rate=16_000) for x in sounds]
    found: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: model.predict(sounds[i], sample_rate=16_000)}))
        for i in range(len(sounds))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(len(sounds))] == expected


def test_column_order_of_graph() -> None:
    columns = find_feature_set(VECTOR).columns
    some = (columns[150], columns[3], columns[40])
    x = voice(1.5)
    bundle = bundle_of(wanted(VECTOR, columns=some))
    row = np.tanh(0.01 * find_feature_set(VECTOR)(x)[[150, 3, 40]].astype(np.float64))
    weights = np.random.default_rng(5).standard_normal((3, len(LABELS))) / 3
    np.testing.assert_allclose(bundle.logits([x])[0], row @ weights, atol=1e-5)


def test_overrides_are_computed() -> None:
    x, overrides = voice(1.5), {"mfcc.n_mfcc": 13}
    assert bundle_of(wanted(VECTOR, overrides)).logits([x]).shape == (1, len(LABELS))
    same_name = replace(wanted(VECTOR, overrides), overrides={})  # the digest is of the set that was changed
    with pytest.raises(BundleVersionError, match="definition has changed"):
        Bundle(spec_of(same_name), tiny_features_onnx(180))


def test_missing_values_are_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    def holes(x: np.ndarray, rate: int) -> np.ndarray:
        return np.array([np.nan, float(len(x))], np.float32)

    put(monkeypatch, made("holes", holes))
    answer = bundle_of(wanted("holes")).logits([voice(1.0)])
    weights = np.random.default_rng(5).standard_normal((2, len(LABELS))) / 2
    np.testing.assert_allclose(answer[0], np.tanh(160.0) * weights[1], atol=1e-6)


# ------------------------------------------------------------------------------------------ it refuses


def made(name: str, compute: Callable[..., Any], **changes: Any) -> FeatureSet:
    fields: dict[str, Any] = {"kind": "vector", "names": ("a", "b"), "description": "", "source": ""}
    return FeatureSet(name=name, compute=compute, **(fields | changes))


def put(monkeypatch: pytest.MonkeyPatch, features: FeatureSet) -> None:
    monkeypatch.setitem(SETS, features.name, features)


def test_another_digest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(wanted(VECTOR))
    put(monkeypatch, replace(SETS[VECTOR], version=99))
    with pytest.raises(BundleVersionError, match=r"'seed-180'.*the set's definition has changed"):
        Bundle(spec, tiny_features_onnx(180))


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"set": "seed-181"}, BundleVersionError, "did you mean 'seed-180'.*Update emovox"),
        ({"overrides": {"mfcc.n_mfc": 3}}, BundleVersionError, "does not have"),
        ({"overrides": {"clip_s": 1e9}}, BundleCorruptError, "at most 65536"),
        ({"overrides": {"mel.n_mels": MAX_PARAMETER + 1}}, BundleCorruptError, "at most 65536"),
        ({"overrides": {"download": True}}, BundleCorruptError, "download"),
        ({"columns": ("mfcc_01_mean", "loudness")}, BundleCorruptError, "'loudness'"),
    ],
)
def test_unavailable_features(changes: dict[str, Any], error: type[Exception], told: str) -> None:
    features = wanted(VECTOR)
    spec = spec_of(replace(features, **changes))
    with pytest.raises(error, match=told):
        Bundle(spec, tiny_features_onnx(180))


def test_set_of_other_kind() -> None:
    with pytest.raises(BundleCorruptError, match="takes frames, its features 'seed-180' are vector"):
        Bundle(spec_of(wanted(VECTOR), "frames"), tiny_features_onnx(180, frames=True))


def test_missing_extra_at_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(x: np.ndarray, rate: int) -> np.ndarray:
        raise MissingExtraError("the set 'far'", "opensmile")

    put(monkeypatch, made("far", absent, extra="opensmile"))
    with pytest.raises(MissingExtraError, match=r"-m pip install .*\[opensmile\]'"):
        bundle_of(wanted("far"))


@pytest.mark.parametrize(
    "compute",
    [
        lambda x, rate: 1 / 0,
        lambda x, rate: np.zeros(3, np.float32),
        lambda x, rate: (_ for _ in ()).throw(MemoryError()),
    ],
)
def test_failing_features(monkeypatch: pytest.MonkeyPatch, compute: Callable[..., Any]) -> None:
    put(monkeypatch, made("bad", compute))
    with pytest.raises(BundleCorruptError, match=r"features 'bad' failed"):
        bundle_of(wanted("bad"))


def test_sound_without_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, made("none", lambda x, rate: np.zeros((0, 2), np.float32), kind="frames"))
    with pytest.raises(BundleCorruptError, match="no frame fits"):
        bundle_of(wanted("none"), "frames")


def test_graph_of_other_width() -> None:
    with pytest.raises(BundleCorruptError, match=r"takes 181 features, spec\.json names 180"):
        Bundle(spec_of(wanted(VECTOR)), tiny_features_onnx(181))


def reshaped(change: Callable[[Any], None], *, frames: bool) -> bytes:
    import onnx

    graph = onnx.load_from_string(tiny_features_onnx(13 if frames else 180, frames=frames))
    change(graph)
    return bytes(graph.SerializeToString())


@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: setattr(dim(m, 0), "dim_value", 4), "fixed batch or length"),
        (lambda m: setattr(dim(m, -1), "dim_param", "d"), "takes d features"),
        (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 11), "cannot be used"),
        (lambda m: setattr(m.graph.output[0], "name", "row") or None, "cannot be used"),
    ],
)
def test_feature_ports_are_strict(change: Callable[[Any], None], told: str, frames: bool) -> None:
    spec = spec_of(wanted(FRAMES if frames else VECTOR), "frames" if frames else "vector")
    with pytest.raises(BundleCorruptError, match=told):
        Bundle(spec, reshaped(change, frames=frames))


def dim(model: Any, axis: int) -> Any:
    return model.graph.input[0].type.tensor_type.shape.dim[axis]


def test_waveform_graph_with_feature_spec(tiny_bundle: Path) -> None:
    model = (tiny_bundle / "model.onnx").read_bytes()
    with pytest.raises(BundleCorruptError, match=r"it takes .*waveform.*expected .*features"):
        Bundle(spec_of(wanted(VECTOR)), model)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"kind": "vector"}, "must say which"),
        ({"kind": "vector", "features": {"set": "x"}}, r"features\.digest: it is missing"),
        ({"kind": "vector", "features": {"set": "x", "digest": "no"}}, "digest: 'no'"),
        ({"kind": "vector", "features": {"set": "x", "digest": "0" * 16, "columns": []}}, "there is none"),
        ({"kind": "vector", "features": {"set": "x", "digest": "0" * 16, "columns": ["a", "a"]}}, "twice"),
        ({"kind": "vector", "features": {"set": "x", "digest": "0" * 16, "colums": []}}, "'columns'"),
        ({"kind": "waveform", "features": {"set": "x", "digest": "0" * 16}}, "front end in the graph"),
    ],
)
def test_wrong_feature_spec(values: dict[str, Any], told: str) -> None:
    text = json.dumps(tiny_spec(sha256="0" * 64).to_dict() | {"input": values})
    with pytest.raises(ValueError, match=told):
        Spec.from_json(text.encode())


def normaliser(n: int = 180, **changes: Any) -> SpeakerNormalization:
    fields = {"kind": "speaker", "shrink": 5.0, "population": Population(mean=(0.0,) * n, std=(1.0,) * n)}
    return SpeakerNormalization(**(fields | changes))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: normaliser(kind="clip"), "expected 'speaker'"),
        (lambda: normaliser(shrink=0), "expected more than 0"),
        (lambda: Population(mean=(0.0,), std=(-1.0,)), "std: expected 0, or"),
        (lambda: Population(mean=(0.0,), std=(1e-300,)), "std: expected 0, or"),
        (lambda: Population(mean=(1e300,), std=(1.0,)), "mean: expected"),
        (lambda: Population(mean=(0.0,), std=(1.0, 1.0)), "2 values, mean has 1"),
        (lambda: spec_of(wanted(FRAMES), "frames", normaliser=normaliser(13)), "not for frames"),
        (lambda: spec_of(wanted(VECTOR, columns=("mel_001_mean",)), normaliser=normaliser(2)), "2 columns"),
        (lambda: tiny_spec(normaliser=normaliser()), "front end in the graph"),
    ],
)
def test_contradicting_normalizer(make: Callable[[], Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def test_waveform_model_imports_no_features(tiny_bundle: Path) -> None:
    import subprocess
    import sys

    code = f"import emovox, sys; emovox.load({str(tiny_bundle)!r}); print('emovox.features' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert emovox.features  # it would have been found


def test_feature_models_need_numpy_only(folder: Path) -> None:
    import subprocess
    import sys

    heavy = ("sklearn", "scipy", "pandas", "librosa", "torch", "onnx", "opensmile", "matplotlib")
    code = f"""
import emovox, numpy, sys
x = (0.1 * numpy.sin(numpy.arange(16000) / 20)).astype("f4")
assert emovox.load({str(folder)!r}).predict(x, sample_rate=16000, vad="off").scores
print(*[name for name in {heavy!r} if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = ["mfcc.n_mfcc", "mel.n_mels", "mel.f_max", "chroma.tuning", "window", "n_fft", "clip_s", "taper", "x"]


@given(
    overrides=st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), JSON, max_size=3),
    columns=st.none() | st.lists(st.sampled_from(["mel_001_mean", "", "x"]), max_size=3),
)
def test_overrides_fuzz(overrides: dict[str, Any], columns: list[str] | None) -> None:
    values = {"set": VECTOR, "overrides": overrides, "digest": "0" * 16, "columns": columns}
    if columns is not None and (not columns or len({*columns}) < len(columns)):
        with pytest.raises(ValueError, match="columns: "):
            Features.from_dict(values)
        return
    with pytest.raises(BundleError, match="'tiny'"):
        Bundle(spec_of(Features.from_dict(values)), tiny_features_onnx(180))


def test_synthetic_voices_differ() -> None:
    assert not np.array_equal(voice(1.0, formants_hz=BRIGHT), voice(1.0, formants_hz=DARK))


def test_explanation_of_a_model_on_features(model: Recognizer) -> None:
    x = np.concatenate([voice(0.6), pause(0.4)])
    found = model.explain(x, sample_rate=16_000)
    assert found.scores == model.predict(x, sample_rate=16_000).scores
    assert np.isfinite([*found.time_drops, *found.band_drops, *np.ravel(found.map_drops)]).all()
    assert found.time_drops[0] != 0
    assert found.time_drops[-2:] == (0, 0), "silence"
