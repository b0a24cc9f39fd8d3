"""Embeddings of small random encoders: layers equal transformers', alone and in a batch, no download."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emovox.errors import AudioValueError, ConfigError, MissingExtraError
from emovox.features import encoders, find_feature_set
from emovox.nets import checkpoints

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", minversion="5")

from speech_encoders import LAYERS, MAKERS, RATE, SIZE, Floats, saved, sound  # noqa: E402


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small random checkpoint of each kind."""
    return saved(tmp_path_factory.mktemp("encoders"))


def reference(folder: Path, x: Floats) -> tuple[list[Floats], Floats]:
    """transformers' own (hidden states, last one) of one sound, ``(t, size)`` each."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    ear = transformers.AutoFeatureExtractor.from_pretrained(folder)
    given = ear(x, sampling_rate=RATE, return_tensors="pt")
    if folder.name == "whisper":
        model, given = model.get_encoder(), {"input_features": given["input_features"]}
    else:
        given = {"input_values": given["input_values"]}
    with torch.no_grad():
        out = model(**given, output_hidden_states=True)
    return [h[0].numpy() for h in out.hidden_states], out.last_hidden_state[0].numpy()


# --- what the numbers are -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_layers_equal_transformers(zoo: Path, name: str) -> None:
    x = sound(1.0)  # all that the Whisper takes, so that transformers pads nothing
    states, last = reference(zoo / name, x)
    assert len(states) == LAYERS + 1
    n = len(last)

    def frames(layer: Any) -> Floats:
        return find_feature_set(f"encoder:{zoo / name}", {"layer": layer, "pooling": "frames"})(x)

    for index in range(LAYERS):
        assert frames(index) == pytest.approx(states[index][:n], abs=1e-5), index
        assert np.array_equal(frames(index), frames(index - LAYERS - 1))
    for final in (LAYERS, "last", -1) if name != "whisper" else ():  # whose final norm is left out
        assert frames(final) == pytest.approx(last[:n], abs=1e-5)
    every = [frames(index) for index in range(LAYERS + 1)]
    assert np.ptp(every, axis=0).max() > 0.01  # the layers are not alike
    assert frames("all-mean") == pytest.approx(np.mean(every, axis=0), abs=1e-5)
    assert frames([1, 0, 3, 0]) == pytest.approx(0.25 * every[0] + 0.75 * every[2], abs=1e-5)


@pytest.mark.parametrize("name", MAKERS)
def test_pooling(zoo: Path, name: str) -> None:
    x, family = sound(), json.loads((zoo / name / "config.json").read_text())["model_type"]
    sets = {p: find_feature_set(f"encoder:{zoo / name}", {"pooling": p}) for p in encoders.POOLINGS}
    frames = sets["frames"](x)
    assert sets["frames"].kind == "frames"
    assert sets["frames"].hop_s == 0.02
    assert sets["frames"].columns[:2] == (f"{family}_frame_0000", f"{family}_frame_0001")
    assert frames.shape == (20, SIZE)
    assert frames.dtype == np.float32
    for pooling, expected in (
        ("mean", frames.mean(0)),
        ("mean_std", np.concatenate([frames.mean(0), frames.std(0)])),
        ("max", frames.max(0)),
    ):
        given = sets[pooling]
        assert (given.kind, given.hop_s, given.extra) == ("vector", None, "ssl")
        assert given(x) == pytest.approx(expected, abs=1e-6)
        assert given(x).dtype == np.float32
        assert len(given.columns) == len(set(given.columns)) == expected.size
    assert sets["mean_std"].columns[SIZE] == f"{family}_std_0000"


@pytest.mark.parametrize("name", MAKERS)
def test_embedding_alone_equals_batch(zoo: Path, name: str) -> None:
    entry = encoders.find_embedding(zoo / name, pooling="frames")
    sounds = [sound(s, seed=i) for i, s in enumerate((0.4, 0.7, 0.4, 0.25, 0.7, 0.55, 0.01))]
    alone = [encoders.compute(x, RATE, embedding=entry) for x in sounds]
    for size in (1, 3, 8):
        together = encoders.embed(sounds, entry, batch_size=size)
        for a, b in zip(alone, together, strict=True):
            assert a.shape == b.shape
            assert a == pytest.approx(b, abs=2e-5)


def test_whisper_splits_long_recordings(zoo: Path) -> None:
    entry = encoders.find_embedding(zoo / "whisper", pooling="frames")  # takes 1 s
    x = sound(2.3)
    frames = encoders.compute(x, RATE, embedding=entry)
    assert frames.shape == (115, SIZE)
    parts = [encoders.compute(x[at : at + RATE], RATE, embedding=entry) for at in (0, RATE, 2 * RATE)]
    assert frames == pytest.approx(np.concatenate(parts), abs=1e-5)


def test_whisper_ignores_gain(zoo: Path) -> None:
    given = find_feature_set(f"encoder:{zoo / 'whisper'}")
    assert given(0.05 * sound(0.5)) == pytest.approx(given(sound(0.5)), abs=1e-4)


def test_whisper_needs_encoder_weights_alone(zoo: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(zoo / "whisper" / "model.safetensors", tmp_path))
    whole, alone = (find_feature_set(f"encoder:{path}") for path in (zoo / "whisper", file))
    assert alone.digest == whole.digest
    assert np.array_equal(alone(sound()), whole(sound()))


@pytest.mark.parametrize("name", ["wav2vec2", "wavlm-layer", "data2vec"])
def test_too_short_is_missing(zoo: Path, name: str) -> None:
    for pooling, shape in (("mean", (SIZE,)), ("mean_std", (2 * SIZE,)), ("max", (SIZE,))):
        row = find_feature_set(f"encoder:{zoo / name}", {"pooling": pooling})(sound()[:144])
        assert row.shape == shape
        assert np.isnan(row).all()
    entry = encoders.find_embedding(zoo / name, pooling="frames")
    shortest = next(n for n in range(1, 1000) if entry.n_frames(n))
    assert encoders.compute(sound()[: shortest - 1], RATE, embedding=entry).shape == (0, SIZE)
    assert encoders.compute(sound()[:shortest], RATE, embedding=entry).shape == (1, SIZE)


def test_invalid_samples_are_refused(zoo: Path) -> None:
    entry = encoders.find_embedding(zoo / "wav2vec2")
    for bad in (np.zeros((2, 8000), np.float32), np.full(8000, np.nan, np.float32)):
        with pytest.raises(AudioValueError, match="recording 1"):
            encoders.embed([sound(), bad], entry)
    assert encoders.embed([], entry) == []


def test_set_is_picklable(zoo: Path) -> None:
    given = find_feature_set(f"encoder:{zoo / 'hubert'}", {"layer": 2})
    again = pickle.loads(pickle.dumps(given))
    assert again.digest == given.digest
    assert np.array_equal(again(sound()), given(sound()))
    assert np.array_equal(given(sound()), given(sound()))


# --- which checkpoint ---------------------------------------------------------------------------------


def test_digest_depends_on_content(zoo: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(zoo / "wav2vec2", tmp_path / "elsewhere"))
    name = f"encoder:{copy}"
    digest = find_feature_set(name).digest
    assert digest == find_feature_set(f"encoder:{zoo / 'wav2vec2'}").digest  # wherever it lies
    others = ({"layer": 1}, {"layer": "last"}, {"pooling": "max"}, {"pooling": "frames"})
    assert len({digest, *(find_feature_set(name, o).digest for o in others)}) == 5
    assert find_feature_set(name, {"layer": -1}).digest == find_feature_set(name, {"layer": "last"}).digest
    before = find_feature_set(name)(sound())
    for file, changed in (
        ("model.safetensors", lambda b: b[:-4] + b"\0\0\0\x3f"),
        ("preprocessor_config.json", lambda b: b.replace(b'"do_normalize": true', b'"do_normalize": false')),
        ("config.json", lambda b: b.replace(b'"layer_norm_eps": 1e-05', b'"layer_norm_eps": 0.5')),
    ):
        old = (copy / file).read_bytes()
        assert changed(old) != old
        (copy / file).write_bytes(changed(old))
        assert find_feature_set(name).digest != digest, file
        if file != "model.safetensors":
            assert not np.array_equal(find_feature_set(name)(sound()), before), file
        (copy / file).write_bytes(old)
    assert find_feature_set(name).digest == digest
    assert np.array_equal(find_feature_set(name)(sound()), before)


def test_reference_round_trip(zoo: Path) -> None:
    given = find_feature_set(f"encoder:{zoo / 'wavlm'}", {"layer": 1, "download": True})
    told = json.loads(json.dumps(given.reference()))
    assert told["overrides"] == {"layer": 1}  # whoever opens a model does not fetch for that
    assert find_feature_set(told["set"], told["overrides"]).digest == told["digest"]


def test_weights_in_several_files(zoo: Path, tmp_path: Path) -> None:
    transformers.AutoModel.from_pretrained(zoo / "hubert").save_pretrained(tmp_path, max_shard_size="20KB")
    shutil.copy(zoo / "hubert" / checkpoints.PREPROCESSOR, tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    split, whole = (find_feature_set(f"encoder:{folder}") for folder in (tmp_path, zoo / "hubert"))
    assert np.array_equal(split(sound()), whole(sound()))
    next(tmp_path.glob("model-*.safetensors")).unlink()
    with pytest.raises(ConfigError, match="pickled weights are not read"):
        find_feature_set(f"encoder:{tmp_path}")


def broken(folder: Path, **changes: bytes | None) -> str:
    for name, content in changes.items():
        path = (
            folder
            / {"weights": "model.safetensors", "config": "config.json", "ear": checkpoints.PREPROCESSOR}[name]
        )
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
    return f"encoder:{folder}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": None}, "pickled weights are not read"),
        ({"ear": None}, "preprocessor_config.json is missing"),
        ({"config": None}, "config.json is missing"),
        ({"config": b"{"}, "not JSON"),
        ({"config": b"[]"}, "expected a JSON object"),
        ({"config": b'{"model_type": "bert"}'}, "of the type 'bert'; expected wav2vec2, hubert"),
        ({"ear": b'{"sampling_rate": 8000}'}, "for 8000 Hz"),
    ],
)
def test_invalid_checkpoints(zoo: Path, tmp_path: Path, changes: Any, message: str) -> None:
    folder = Path(shutil.copytree(zoo / "wav2vec2", tmp_path / "model"))
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    with pytest.raises(ConfigError, match=message):
        find_feature_set(broken(folder, **changes))


def test_missing_weight_is_refused(zoo: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(zoo / "wav2vec2", tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    lost = weights.pop("encoder.layers.1.attention.q_proj.weight")
    assert lost.numel()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lack 1 tensors .*q_proj"):
        find_feature_set(f"encoder:{folder}")(sound())


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_weights_cut_short(zoo: Path, tmp_path: Path, keep: int) -> None:
    folder = Path(shutil.copytree(zoo / "wav2vec2", tmp_path / "model"))
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:keep])
    with pytest.raises(ConfigError, match="cannot be read"):
        find_feature_set(f"encoder:{folder}")(sound())


def test_an_adapter_is_refused(zoo: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(zoo / "wav2vec2", tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text()) | {"add_adapter": True}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="adapter"):
        find_feature_set(f"encoder:{folder}")


@pytest.mark.parametrize(
    "layer", [4, -5, 1.5, True, "first", [], [1, 0], [0, 0, 0, 0], [1, 0, 0, -1], [1, 0, 0, float("nan")]]
)
def test_invalid_layers(zoo: Path, layer: Any) -> None:
    with pytest.raises(ConfigError, match=r"expected an index from 0 to 3, 'last', 'all-mean'"):
        find_feature_set(f"encoder:{zoo / 'hubert'}", {"layer": layer})


def test_invalid_options(zoo: Path) -> None:
    with pytest.raises(ConfigError, match="expected one of mean, mean_std, max, frames"):
        find_feature_set(f"encoder:{zoo / 'hubert'}", {"pooling": "median"})
    with pytest.raises(ConfigError, match="no parameter 'layers'; expected layer, pooling"):
        find_feature_set(f"encoder:{zoo / 'hubert'}", {"layers": 1})


# --- the Hub, the extra, and what is loaded -----------------------------------------------------------


def test_hub_cache_without_network(zoo: Path, tmp_path: Path) -> None:
    # A process of its own, for the cache is chosen when the Hub's library is imported. The address of the Hub
    # is one where nobody listens: without ``download`` that must not matter.
    commit = "0" * 40
    root = tmp_path / "hub" / "models--somebody--small"
    shutil.copytree(zoo / "hubert", root / "snapshots" / commit)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)
    code = """
import sys
import numpy as np
from emovox.errors import ConfigError
from emovox.features import encoders, find_feature_set
assert not {"torch", "transformers", "huggingface_hub"} & set(sys.modules)
given = find_feature_set("encoder:somebody/small")
print(given.digest, given(np.ones(8000, np.float32)).shape)
for overrides in ({}, {"download": True}):
    try:
        find_feature_set("encoder:somebody/absent", overrides)
    except ConfigError as error:
        print(error)
from transformers.utils import logging
assert logging.is_progress_bar_enabled() and logging.get_verbosity() == logging.WARNING
"""
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    found, absent, unreachable = done.stdout.splitlines()
    digest = find_feature_set(f"encoder:{zoo / 'hubert'}").digest
    assert found == f"{digest} ({SIZE},)"
    assert "'somebody/absent'" in absent
    assert "download=True fetches it" in absent
    assert "download=True" not in unreachable


def test_missing_extra_message(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in (str(zoo / "hubert"), "somebody/small"):
        with pytest.raises(MissingExtraError, match=r"-m pip install .*\[ssl\]'"):
            find_feature_set(f"encoder:{name}")
