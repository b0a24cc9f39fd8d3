"""``emovox finetune``: a calibrated head for any labels on a model's embedding, with numpy alone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

onnx = pytest.importorskip("onnx")

import emovox  # noqa: E402
import speech  # noqa: E402
from conftest import LABELS, tiny_onnx, tiny_spec  # noqa: E402
from emovox.bundles import write_bundle  # noqa: E402
from emovox.bundles.onnx_session import OnnxModel  # noqa: E402
from emovox.cli import main  # noqa: E402
from emovox.errors import BundleError, ConfigError  # noqa: E402
from emovox.evaluation import metrics  # noqa: E402
from emovox.evaluation.leakage import pack_hashes  # noqa: E402
from emovox.training.finetune import fit_head, fit_logistic_regression, make_folds  # noqa: E402
from emovox.training.onnx_head import replace_head  # noqa: E402
from voices import toy_corpus, voice  # noqa: E402

NAMES = ("angry", "frustrated", "keen")


def with_embedding(model: bytes, *, offset: bool = False) -> bytes:
    """The tiny graph with its log energies as an embedding; with an offset that its head subtracts."""
    proto = onnx.load_from_string(model)
    graph, helper = proto.graph, onnx.helper
    n = 2 * 12
    logs = next(node for node in graph.node if node.output[0] == "logs")
    logs.output[0] = "embedding"
    graph.output.append(helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, ["b", n]))
    head = graph.node[-1]
    head.input[0] = "embedding"
    if offset:
        graph.input.append(helper.make_tensor_value_info("offset", onnx.TensorProto.FLOAT, ["b", n]))
        graph.node.remove(head)
        graph.node.append(helper.make_node("Sub", ["embedding", "offset"], ["moved"]))
        head.input[0] = "moved"
        graph.node.append(head)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "tiny"
    write_bundle(folder, with_embedding(tiny_onnx()), tiny_spec())
    return folder


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with labels that no corpus has."""
    root = tmp_path_factory.mktemp("mine") / "mine"
    for number, label in enumerate(NAMES):
        (root / label).mkdir(parents=True)
        for take in range(12):
            soundfile.write(root / label / f"{take}.wav", voice(take % 4, number, take), 16_000)
    return root


def test_own_labels_become_a_model(base: Path, mine: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    run = emovox.finetune(mine, model=base, output=tmp_path / "run", notify=lines.append)
    model = run.recognizer()
    assert model.labels == NAMES
    assert run.metrics["scores"]["uar"]["value"] > 0.6, "the pitch is the label"
    assert run.metrics["stamp"]["stamp"] == "speaker-dependent"
    assert any("the speakers are unknown" in line for line in lines)
    assert any("few clips (angry 12" in line for line in lines)
    right = [model.predict(path).top[0][0] == path.parent.name for path in mine.rglob("*.wav")]
    assert np.mean(right) > run.metrics["scores"]["uar"]["value"] - 0.1
    assert emovox.load(tmp_path / "run").spec == model.spec
    assert model.spec.description == "Fine-tuned from tiny 1 on 36 clips"
    assert "base model" in model.spec.licence.weights
    assert model.spec.temperature > 0
    record = json.loads((tmp_path / "run/metrics.json").read_text())
    assert record["kind"] == "finetune"
    assert record["scores"]["uar"]["value"] == pytest.approx(model.spec.scores[0].value, abs=1e-6)
    assert len((tmp_path / "run/answers.csv").read_text().splitlines()) == 1 + 36


def test_head_sees_what_predict_sees(adaptive_bundle: Path, tmp_path: Path) -> None:
    """The silence around padded clips reaches neither the embedding that is learnt from nor the answer."""
    for number, label in enumerate(NAMES):
        (tmp_path / "mine" / label).mkdir(parents=True)
        for take in range(5):
            x = speech.voice(1.5, pitch_hz=100 + 60 * number + 5 * take)
            x = np.concatenate([speech.pause(0.7 * take), x, speech.pause(2.0 - 0.4 * take)])
            soundfile.write(tmp_path / "mine" / label / f"{take}.wav", x, 16_000, subtype="FLOAT")
    run = emovox.finetune(tmp_path / "mine", model=adaptive_bundle, output=tmp_path / "run")
    tensors = onnx.load(run.bundle / "model.onnx").graph.initializer
    weight, bias = (
        next(onnx.numpy_helper.to_array(one) for one in tensors if one.name == name)
        for name in ("head_weight", "head_bias")
    )
    base, tuned = emovox.load(adaptive_bundle), run.recognizer()
    for path in sorted((tmp_path / "mine").rglob("*.wav")):
        logits = np.concatenate(base.embed_with_logits(path)) @ weight + bias
        scores = list(tuned.predict(path).scores.values())
        np.testing.assert_allclose(scores, tuned.probabilities(logits), atol=1e-5)
        assert np.abs(base.embed(path) - base.embed(path, vad="off")).max() > 1e-3, "the cut matters"


def test_speakers_part_the_folds(base: Path, tmp_path: Path) -> None:
    toy_corpus(tmp_path / "toy")
    run = emovox.finetune(tmp_path / "toy/toy.csv", model=base, output=tmp_path / "run")
    assert run.metrics["stamp"]["stamp"] == "strict"
    assert run.metrics["split"]["name"] == "5 folds of speakers"
    assert run.recognizer().spec.scores[0].n_speakers == 8
    p = run.predictions
    assert run.metrics["scores"]["uar"]["value"] == pytest.approx(metrics.uar(p.y_true, p.y_pred), abs=1e-6)
    again = emovox.finetune(tmp_path / "toy/toy.csv", model=base, output=tmp_path / "again", workers=2)
    assert again.metrics["model_sha256"] == run.metrics["model_sha256"], "1 worker = 2 workers"


def test_clips_of_the_base_model_contaminate(tmp_path: Path) -> None:
    taught = pack_hashes(toy_corpus(tmp_path / "toy"))
    write_bundle(tmp_path / "base", with_embedding(tiny_onnx()), replace(tiny_spec(), taught=taught))
    toy_corpus(tmp_path / "other", name="other")  # the same sounds under another name
    lines: list[str] = []
    run = emovox.finetune(
        tmp_path / "other/other.csv", model=tmp_path / "base", output=tmp_path / "run", notify=lines.append
    )
    assert run.metrics["stamp"]["stamp"] == "contaminated"
    assert "contaminated" in run.recognizer().spec.scores[0].protocol
    assert any("byte for byte" in line for line in lines)


def test_tuned_model_remembers_all_clips(mine: Path, tmp_path: Path) -> None:
    """Those of its base model and its own."""
    spec = replace(tiny_spec(), taught="AAAAAAAAAAAAAAAB")  # of two clips
    write_bundle(tmp_path / "base", with_embedding(tiny_onnx()), spec)
    run = emovox.finetune(mine, model=tmp_path / "base", output=tmp_path / "run")
    assert run.metrics["stamp"]["stamp"] == "speaker-dependent"
    taught = run.recognizer().spec.taught
    assert {"AAAAAAAA", "AAAAAAAB"} < {taught[n : n + 8] for n in range(0, len(taught), 8)}
    assert len(taught) == 8 * (2 + 36)
    (tmp_path / "renamed").symlink_to(mine)
    stamp = emovox.evaluate(run.bundle, tmp_path / "renamed", labels=NAMES).document["stamp"]
    assert stamp["stamp"] == "contaminated"


def test_confounded_speakers_are_reported(base: Path, tmp_path: Path) -> None:
    manifest = toy_corpus(tmp_path / "toy")
    rows = (tmp_path / "toy/toy.csv").read_text().splitlines()
    kept = [f"{n}-{emotion}-" for n, emotion in enumerate(("neutral", "happy", "sad", "angry") * 2)]
    few = [row for row in rows[1:] if any(name in row for name in kept)]
    for n in range(3):
        few += [row.replace(".wav", ".wav", 1).replace("toy/", f"toy/again{n}-", 1) for row in few[:8]]
    (tmp_path / "toy/few.csv").write_text("\n".join([rows[0], *few]) + "\n")
    lines: list[str] = []
    run = emovox.finetune(tmp_path / "toy/few.csv", model=base, output=tmp_path / "run", notify=lines.append)
    assert any("speakers and labels are confounded" in line for line in lines)
    assert any("confounded" in note for note in run.metrics["notes"])
    assert len(manifest) == 64


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": 5, "b": 4}, "a 5, b 4; expected at least two labels, and 5 clips of each$"),
        ({"a": 9}, "a 9; expected"),
        ({"a": 5, "b": 5, "c": 1}, "clips of each; or leave labels out:  --labels a,b$"),
    ],
)
def test_too_few_clips_are_refused(base: Path, tmp_path: Path, files: dict[str, int], message: str) -> None:
    for number, (label, n) in enumerate(files.items()):
        (tmp_path / "few" / label).mkdir(parents=True)
        for take in range(n):
            soundfile.write(tmp_path / "few" / label / f"{take}.wav", voice(0, number, take), 16_000)
    with pytest.raises(ConfigError, match=message):
        emovox.finetune(tmp_path / "few", model=base, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_model_without_embedding_is_refused(tiny_bundle: Path, mine: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gives no embedding"):
        emovox.finetune(mine, model=tiny_bundle, output=tmp_path / "run")


def test_command(base: Path, mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    args = ["finetune", "--data", str(mine), "--model", str(base), "-o", str(out)]
    assert main(args) == 0
    printed = capsys.readouterr()
    assert "angry 12, frustrated 12, keen 12" in printed.out
    assert "speaker-dependent" in printed.out
    assert "emovox predict --model" in printed.err
    assert main(["predict", "--model", str(out), str(next(mine.rglob("*.wav"))), "--format", "json"]) == 0
    assert set(json.loads(capsys.readouterr().out)[0]["scores"]) == set(NAMES)
    assert main(args) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*args, "--force", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "finetune"


def test_neither_torch_nor_sklearn_nor_onnx_is_imported(base: Path, mine: Path, tmp_path: Path) -> None:
    code = (
        "import sys, emovox\n"
        f"emovox.finetune({str(mine)!r}, model={str(base)!r}, output={str(tmp_path / 'run')!r})\n"
        "print([m for m in ('torch', 'sklearn', 'onnx', 'yaml', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- the parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [False, True])
def test_new_head_is_linear_in_embedding_and_logits(offset: bool) -> None:
    dice = np.random.default_rng(0)
    model = with_embedding(tiny_onnx(), offset=offset)
    weight = dice.standard_normal((24 + len(LABELS), 3)).astype(np.float32)
    bias = dice.standard_normal(3).astype(np.float32)
    edited = replace_head(model, weight, bias)
    onnx.checker.check_model(onnx.load_from_string(edited))
    old = OnnxModel(model, name="old", n_labels=len(LABELS))
    new = OnnxModel(edited, name="new", n_labels=3)
    sounds = [dice.standard_normal(n).astype(np.float32) for n in (8000, 12000)]
    shift = dice.standard_normal(24).astype(np.float32) if offset else None
    before, after = old.run(sounds, shift), new.run(sounds, shift)
    assert before.embedding is not None
    assert after.embedding is not None
    np.testing.assert_array_equal(before.embedding, after.embedding)
    moved = before.embedding - (0 if shift is None else shift)
    expected = np.hstack([moved, before.logits]) @ weight + bias
    np.testing.assert_allclose(after.logits, expected, rtol=1e-4, atol=1e-4)


def test_graphs_without_embedding_or_damaged_are_refused() -> None:
    weight, bias = np.zeros((29, 3), np.float32), np.zeros(3, np.float32)
    with pytest.raises(BundleError, match="expected embedding and logits"):
        replace_head(tiny_onnx(), weight, bias)
    model = with_embedding(tiny_onnx())
    with pytest.raises(BundleError, match="fine-tuned one; expected the model that it was tuned from"):
        replace_head(replace_head(model, weight, bias), weight, bias)
    for damaged in (b"", b"no model", model[: len(model) // 2], model[:-1]):
        with pytest.raises(BundleError, match="ONNX"):
            replace_head(damaged, weight, bias)


def test_regression_equals_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    dice = np.random.default_rng(1)
    for n, d in ((60, 8), (30, 90)):
        y = np.arange(n) % 3
        x = dice.standard_normal((n, d)) + y[:, None] * dice.standard_normal(d) * 0.3
        weight, bias = fit_logistic_regression(x, y, 3, l2=0.1)
        z = (x - x.mean(0)) / x.std(0)
        reference = linear.LogisticRegression(C=1 / (0.1 * n), tol=1e-8, max_iter=5000).fit(z, y)
        ours, theirs = x @ weight + bias, reference.decision_function(z)
        difference = (ours - ours.mean(1, keepdims=True)) - (theirs - theirs.mean(1, keepdims=True))
        assert np.abs(difference).max() < 1e-3


def test_few_clips_correct_the_base_model() -> None:
    """With labels of the base model its answers are the start; without, the head begins with nothing."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 5)
    x = np.hstack([rng.standard_normal((10, 40)), 3.0 * np.eye(3)[y + 1]])  # the base is right
    base_labels = ("angry", "happy", "sad")
    weight, bias = fit_head(x, y, ("happy", "sad"), base_labels, l2=1e6)
    np.testing.assert_allclose(x @ weight + bias, x[:, 41:], atol=1e-2)
    weight, bias = fit_head(x, y, ("keen", "sad"), base_labels, l2=1e6)
    np.testing.assert_allclose(x @ weight + bias, 0.0, atol=1e-2)
    weight, bias = fit_head(x, 1 - y, ("happy", "sad"), base_labels, l2=0.01)
    assert np.mean((x @ weight + bias).argmax(1) == 1 - y) == 1, "clips that contradict it win"


def test_folds_hold_out_every_clip_once() -> None:
    y = np.arange(40) % 4
    known: list[Any] = [f"s{n // 8}" for n in range(40)]
    folds, by_speaker = make_folds(y, known, 5, seed=0)
    assert by_speaker
    assert sorted(np.concatenate(folds)) == list(range(40))
    assert all(len({known[n] for n in fold}) == 1 for fold in folds)
    folds, by_speaker = make_folds(y, [None] * 40, 5, seed=0)
    assert not by_speaker
    assert sorted(np.concatenate(folds)) == list(range(40))
    assert all(len(np.unique(np.delete(y, fold))) == 4 for fold in folds)
    one_label_each = [f"s{n % 4}" for n in range(40)]
    assert not make_folds(y, one_label_each, 5, seed=0)[1], "no training would have every label"
