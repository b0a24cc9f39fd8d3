"""``encoder``: states equal transformers', padded or not; training modes; export."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers", minversion="5")
pytest.importorskip("peft")
pytest.importorskip("lightning")
pytest.importorskip("onnxscript")

import torch
import transformers

import emovox
from emovox.cli import main
from emovox.errors import ConfigError
from emovox.nets.registry import make_net
from emovox.training.config import TrainingConfig
from emovox.training.export import TOLERANCE, check_parity, to_onnx
from emovox.training.neural.clips import ClipSet, WaveformCache, pad_clips
from emovox.training.neural.curves import CHECKPOINT
from emovox.training.neural.trainer import fit_net, predict_logits
from speech_encoders import MAKERS, RATE, Floats, saved, sound
from voices import tones

MODES = ("frozen", "partial", "full", "lora")
FAMILIES = ("wav2vec2", "hubert-layer", "wavlm", "data2vec", "whisper")
SHORT = TrainingConfig(epochs=2, batch_size=4, balance="none", learning_rate=0.01, tensorboard=False)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small random checkpoint of each kind."""
    return saved(tmp_path_factory.mktemp("encoders"))


def net(folder: Path, mode: str = "frozen", **params: Any) -> Any:
    torch.manual_seed(3)
    given = {"checkpoint": str(folder), "mode": mode, "head": 8, "rank": 2, "n_tuned": 1} | params
    return make_net("encoder", given, n_in=1, n_labels=4)


def clips(n: int = 6, seconds: float = 0.2) -> ClipSet:
    heard = [sound(seconds + 0.03 * (i % 3), seed=i) for i in range(n)]
    return ClipSet([heard], np.arange(n) % 4, np.zeros(n, np.int64), np.ones((1, 4), bool))


# --- what is heard ------------------------------------------------------------------------------------


def reference(folder: Path, x: Floats) -> list[Floats]:
    """transformers' own layers of one sound that stands alone, ``(t, size)`` each."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    ear = transformers.AutoFeatureExtractor.from_pretrained(folder)
    given = dict(ear(x, sampling_rate=RATE, return_tensors="pt"))
    given.pop("attention_mask", None)
    model = model.get_encoder() if folder.name == "whisper" else model
    with torch.inference_mode():
        out = model(**given, output_hidden_states=True)
    return [z[0].numpy() for z in (*out.hidden_states[:-1], out.last_hidden_state)]


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "whisper"])
def test_states_equal_transformers(zoo: Path, name: str) -> None:
    sounds = [sound(0.4), sound(0.9, seed=1), sound(0.06, seed=2)]
    x, lengths = pad_clips(sounds)
    for row, n in zip(x, lengths, strict=True):
        row[n:] = float("nan")
    with torch.inference_mode():
        states, mask = net(zoo / name).eval().encoder(x, lengths)
    for i, alone in enumerate(sounds):
        expected = reference(zoo / name, alone)
        n = int(mask[i].sum())
        assert n == len(expected[0])
        for state, own in zip(states, expected, strict=True):
            np.testing.assert_allclose(state[i, :n], own, rtol=0, atol=1e-5)


def test_whisper_states_equal_transformers(zoo: Path) -> None:
    x, lengths = pad_clips([sound(1.0), sound(1.0, seed=1)])  # the whole length, which transformers pads to
    with torch.inference_mode():
        states, mask = net(zoo / "whisper", level="none").eval().encoder(x, lengths)
    assert mask.all()
    for i in (0, 1):
        for state, own in zip(states[:-1], reference(zoo / "whisper", x[i].numpy()), strict=False):
            np.testing.assert_allclose(state[i], own, rtol=0, atol=1e-5)  # but the last, which is normalised


def test_first_layers_alone(zoo: Path) -> None:
    x, lengths = pad_clips([sound(0.5), sound(0.3, seed=1)])
    for name in ("whisper", "wav2vec2-layer", "wavlm"):
        whole, cut = (net(zoo / name, layers=n).eval().encoder for n in (0, 2))
        with torch.inference_mode():
            for own, other in zip(cut(x, lengths)[0], whole(x, lengths)[0][:3], strict=True):
                torch.testing.assert_close(own, other)
    with pytest.raises(ConfigError, match="the checkpoint has 3 layers"):
        net(zoo / "whisper", layers=4)


def test_padding_does_not_matter(zoo: Path) -> None:
    sounds = [sound(0.3), sound(0.8, seed=1), sound(0.003, seed=2)]  # the last has no frame of its own
    for name, pooling in zip(
        FAMILIES, ("mean", "statistics", "attention", "last", "statistics"), strict=True
    ):
        heard = net(zoo / name, pooling=pooling).eval()
        x, lengths = pad_clips(sounds)
        with torch.inference_mode():
            together = heard(x, lengths)
            alone = torch.cat([heard(*pad_clips([one])) for one in sounds])
            for row, n in zip(x, lengths, strict=True):
                row[n:] = 9.0
            assert torch.equal(heard(x, lengths), together), name
            wider = heard(torch.nn.functional.pad(x, (0, 999), value=9.0), lengths)
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
        torch.testing.assert_close(together, wider, rtol=0, atol=1e-5)


def test_padding_does_not_change_gradients(zoo: Path) -> None:
    """More padding, the same gradients."""
    for name in ("hubert", "wavlm", "data2vec"):
        taught = net(zoo / name, "full").eval()  # nothing is dropped
        x, lengths = pad_clips([sound(0.3), sound(0.2, seed=1)])
        found = []
        for padding in (0, 800):
            taught.zero_grad()
            taught(torch.nn.functional.pad(x, (0, padding), value=9.0), lengths).square().sum().backward()
            found.append(torch.cat([p.grad.ravel() for p in taught.parameters() if p.grad is not None]))
        torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-5)


def test_position_batch_norm_ignores_padding(zoo: Path, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = MAKERS["hubert"]()
        model = type(model)(type(model.config)(**(model.config.to_dict() | {"conv_pos_batch_norm": True})))
    torch.nn.init.normal_(model.encoder.pos_conv_embed.batch_norm.running_mean)
    model.save_pretrained(tmp_path)
    shutil.copy(zoo / "hubert" / "preprocessor_config.json", tmp_path)
    x, lengths = pad_clips([sound(0.4), sound(0.2, seed=1)])
    with torch.inference_mode():
        states, mask = net(tmp_path).eval().encoder(x, lengths)
    for own, state in zip(reference(tmp_path, sound(0.2, seed=1)), states, strict=True):
        np.testing.assert_allclose(state[1, : mask[1].sum()], own, rtol=0, atol=1e-5)


# --- how it learns ------------------------------------------------------------------------------------


def names_of_what_learns(taught: Any) -> set[str]:
    return {name for name, p in taught.encoder.named_parameters() if p.requires_grad}


def test_modes_train_their_weights(zoo: Path) -> None:
    for name in ("wavlm", "whisper"):
        whole = {n for n, _ in net(zoo / name).encoder.named_parameters()}
        learn = {mode: names_of_what_learns(net(zoo / name, mode)) for mode in MODES}
        assert learn["frozen"] == set()
        assert all("lora_" in n for n in learn["lora"])
        n_matrices = 1 if name == "whisper" else 2  # its queries, keys and values are one matrix
        assert len(learn["lora"]) == n_matrices * 2 * 3, "two factors in each of three blocks"
        assert {n for n in learn["partial"] if n.startswith("layers.")} == {
            n for n in whole if n.startswith("layers.2.")
        }
        assert learn["partial"] <= learn["full"]
        left = whole - learn["full"]
        assert left == {n for n in whole if n.startswith(("convolutions.", "conv1.", "conv2."))}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_mode_changes_its_weights(zoo: Path, name: str) -> None:
    for mode in MODES:
        taught = net(zoo / name, mode, encoder_rate=0.5)
        before = {key: value.clone() for key, value in taught.state_dict().items()}
        learning = {key for key, p in taught.named_parameters() if p.requires_grad}
        fitted = fit_net(taught, clips(), None, replace(SHORT, epochs=1))
        after = fitted.net.state_dict()
        changed = {key for key, value in after.items() if not torch.equal(value, before[key])}
        assert changed <= learning
        assert len(changed) > 0.8 * len(learning), "of biases of keys a softmax takes no notice"
        assert np.isfinite(predict_logits(fitted.net, clips())).all()


def test_pretrained_weights_have_lower_rate(zoo: Path) -> None:
    from emovox.training.neural.lightning_module import NetModule

    for mode, rates in (("lora", [0.01]), ("full", [0.01, 0.01 * 0.05])):
        taught = net(zoo / "wavlm", mode)
        module = NetModule(taught, clips(), None, SHORT, 0, lambda epoch: None, lambda epoch: False)
        groups = module.configure_optimizers()["optimizer"].param_groups
        assert [group["initial_lr"] for group in groups] == rates
        n_taught = sum(len(group["params"]) for group in groups)
        assert n_taught == len([p for p in taught.parameters() if p.requires_grad])


def test_encoder_memorises_32_clips(zoo: Path) -> None:
    rng = np.random.default_rng(0)  # pure noise: there is nothing to learn but the clips themselves
    noise = [(0.1 * rng.standard_normal(1600)).astype(np.float32) for _ in range(32)]
    data = replace(clips(32), variants=[noise])
    settings = replace(SHORT, epochs=60, batch_size=16, label_smoothing=0)
    taught = net(zoo / "wav2vec2", "full", dropout=0.0, encoder_rate=1.0, head=64, pooling="statistics")
    fitted = fit_net(taught, data, None, replace(settings, learning_rate=0.01))
    assert (predict_logits(fitted.net, data).argmax(1) == data.labels).all()


@pytest.mark.parametrize("mode", ["lora", "partial"])
def test_encoder_resumes_without_frozen_weights(zoo: Path, tmp_path: Path, mode: str) -> None:
    settings = replace(SHORT, epochs=3, ema=0.9, crop=2000)
    whole = fit_net(net(zoo / "wavlm", mode), clips(), clips(4), settings, folder=tmp_path / "whole")

    def stop(epoch: Any) -> None:
        if epoch.number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_net(net(zoo / "wavlm", mode), clips(), clips(4), settings, folder=tmp_path / "cut", on_epoch=stop)
    again = fit_net(net(zoo / "wavlm", mode), clips(), clips(4), settings, folder=tmp_path / "cut")
    for a, b in zip(whole.net.state_dict().values(), again.net.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    kept = torch.load(tmp_path / "cut" / CHECKPOINT, weights_only=True)
    learns = {n for n, p in again.net.named_parameters() if p.requires_grad}
    held = {key.partition(".")[2] for key in kept["state_dict"]}
    assert held - learns <= {name for name, _ in again.net.named_buffers()}
    assert learns <= held
    assert set(kept["best"]["state"]) == held
    with pytest.raises(ConfigError, match="another training"):
        fit_net(net(zoo / "hubert", mode), clips(), clips(4), settings, folder=tmp_path / "cut")


# --- what leaves the workshop -------------------------------------------------------------------------


def moved(taught: Any) -> Any:
    """As if it had learnt: additions that add something, layers that count differently."""
    for name, weight in taught.named_parameters():
        if "lora_B" in name or "layer_weights" in name:
            torch.nn.init.normal_(weight, std=0.3)
    return taught.eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_lora_is_merged(zoo: Path, name: str) -> None:
    x = pad_clips([sound(0.3), sound(0.2, seed=1)])
    with torch.inference_mode():
        taught = net(zoo / name, "lora", output="last").eval()
        before = taught(*x)
        added = moved(taught)(*x)
        plain = taught.merge_adapters()
        assert not torch.allclose(added, before, atol=1e-3)
        torch.testing.assert_close(plain(*x), added, rtol=0, atol=1e-5)
        torch.testing.assert_close(taught(*x), added)
    assert not [n for n, _ in plain.named_parameters() if "lora" in n]


@pytest.mark.parametrize(
    "name", [n if n == "wav2vec2" else pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES]
)
def test_graph_equals_net(zoo: Path, name: str) -> None:
    """Batches of 1 and of 16, of 0.3 s to 20 s (a Whisper of 1 s hears no more)."""
    taught = moved(net(zoo / name, "lora"))
    sounds = [sound(s, seed=i) for i, s in enumerate((1.0, 0.3, 20.0, 0.7))]
    model = to_onnx(taught, sounds, name=name)
    sixteen = [sounds[(0, 1, 3)[n % 3]][: -1 - 100 * n] for n in range(16)]
    assert check_parity(taught, model, sixteen) <= TOLERANCE


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tones(tmp_path_factory.mktemp("tree"), n=3, first=6400)


def command(folder: Path, tree: Path, run: Path, *more: str) -> list[str]:
    said = ["model.kind=net", "model.name=encoder", f"model.params.checkpoint={folder}", "train.batch_size=4"]
    said += ["train.epochs=1", "train.tensorboard=false", "model.params.head=8", *more]
    return ["train", *said, "--data", str(tree), "-o", str(run), "--mlflow", "off"]


def test_config_becomes_bundle(
    zoo: Path, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whisper = ["windows.clip_s=1", "windows.window_s=1", "windows.hop_s=0.5", "model.params.mode=partial"]
    assert main(command(zoo / "whisper", tree, tmp_path / "run", *whisper)) == 0
    assert "test: accuracy" in capsys.readouterr().err
    found = emovox.load(tmp_path / "run").predict(next((tree / "test/angry").glob("*.wav")))
    assert set(found.scores) == {"sad", "angry"}
    spec = json.loads(next((tmp_path / "run").rglob("spec.json")).read_text())
    assert spec["input"]["kind"] == "waveform"
    assert "as its checkpoint: whisper (not known here)" in spec["licence"]["weights"]
    assert not spec["licence"]["commercial"]
    assert str(zoo) not in json.dumps(spec), "no path of this machine"


def test_vox_trains_on_waveforms() -> None:
    torch.manual_seed(0)
    vox = make_net("vox", {"hidden": 8, "n_members": 1}, n_in=1, n_labels=4)
    before = vox.heads[0].hidden.weight.clone()
    fitted = fit_net(vox, clips(5), None, SHORT)  # of five clips one is left over
    assert np.isfinite(predict_logits(fitted.net, clips(5))).all()
    assert fitted.net.mean.any()
    assert not torch.equal(fitted.net.heads[0].hidden.weight, before)
    with pytest.raises(ConfigError, match="hidden is 0"):
        make_net("vox", {"hidden": 0}, n_in=1, n_labels=4)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("model.params.mode=frosen", "mode is 'frosen'; expected one of frozen, partial, full, lora"),
        ("model.params.output=first", "expected one of weighted, last"),
        ("model.params.pooling=max", "expected one of mean"),
        ("model.params.rank=0", "rank is 0"),
        ("model.params.ranks=4", "did you mean 'rank'"),
        ("model.params.checkpoint=", "checkpoint is None; expected the folder"),
        ("model.params.checkpoint=no/such-encoder", "nothing is downloaded by default"),
        (
            "model.params={mode: partial, n_tuned: 9, checkpoint: CHECKPOINT}",
            "n_tuned is 9; the encoder has 3",
        ),
        ("train.mask_time=0.2", "no frames to mask"),
    ],
)
def test_invalid_config_is_refused(
    change: str, told: str, zoo: Path, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = change.replace("CHECKPOINT", str(zoo / "wavlm"))
    assert main(command(zoo / "wavlm", tree, tmp_path / "x", change)) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_too_short_whisper_is_refused(
    zoo: Path, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(zoo / "whisper", tree, tmp_path / "x")) == 2
    assert "windows.clip_s is 12; this encoder takes at most 1 s" in capsys.readouterr().err


def test_waveform_cache_is_a_file() -> None:
    shelf = WaveformCache()
    given = {str(i): sound(0.01 * i, seed=i) for i in range(1, 5)}
    for key, x in given.items():
        shelf.add(key, x)
    found = shelf.finish()
    del shelf
    assert found.keys() == given.keys()
    assert all(np.array_equal(found[key], x) for key, x in given.items())
    assert isinstance(found["1"].base, np.memmap)
    assert WaveformCache().finish() == {}


@pytest.mark.skipif(not os.environ.get("EMOVOX_ENCODER"), reason="EMOVOX_ENCODER names no checkpoint")
@pytest.mark.parametrize("mode", MODES)
def test_real_encoder(mode: str) -> None:
    taught = make_net(
        "encoder", {"checkpoint": os.environ["EMOVOX_ENCODER"], "mode": mode}, n_in=1, n_labels=4
    )
    fitted = fit_net(taught, clips(), None, replace(SHORT, learning_rate=1e-3))
    sounds = [sound(s, seed=i) for i, s in enumerate((1.0, 0.3, 5.0))]
    assert check_parity(fitted.net, to_onnx(fitted.net, sounds), sounds) <= TOLERANCE
