"""The recipe of the shipped models runs: its command, and the whole of it in miniature."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from emovox.bundles import load_bundle, read_spec  # noqa: E402
from emovox.datasets import Manifest  # noqa: E402
from emovox.evaluation.predictions import Predictions, predict_manifest  # noqa: E402
from emovox.inference.recognizer import Recognizer  # noqa: E402
from emovox.training.config import TrainingConfig  # noqa: E402

RECIPES = Path(__file__).parents[1] / "recipes"
RATE = 16_000

# Both corpora show these four; the letters are EMO-DB's, the numbers RAVDESS's.
CODES = {"neutral": ("N", "01"), "happy": ("F", "03"), "sad": ("T", "04"), "angry": ("W", "05")}
SHARES = {"ravdess": 1.0, "emodb": 0.5}
TINY_TRAIN = TrainingConfig(
    batch_size=32, learning_rate=5e-3, weight_decay=0.05, mixup=0.3, gradient_norm=5.0
)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def recipe() -> Iterator[ModuleType]:
    """`recipes/vox.py` as a module that worker processes can import, too."""
    sys.path.insert(0, str(RECIPES))
    import vox  # type: ignore[import-not-found]

    yield vox
    sys.path.remove(str(RECIPES))


def clip(emotion: str, speaker: int, take: int) -> np.ndarray:
    """A caricature: each emotion has its pitch, glide and syllables; each speaker a voice."""
    rng = np.random.default_rng([speaker, take])
    rise, glide, syllables = {
        "neutral": (1.0, 0.0, 3.0),
        "happy": (1.8, 0.6, 5.0),
        "sad": (0.8, -0.4, 1.7),
        "angry": (2.4, -0.1, 7.0),
    }[emotion]
    t = np.arange(round(rng.uniform(0.7, 0.9) * RATE)) / RATE
    f0 = (95 + 3 * speaker) * rise * 2 ** (glide * t) * rng.uniform(0.95, 1.05)
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    x = sum(np.cos(k * phase) / k for k in range(1, 15)) * (0.6 + 0.4 * np.sin(2 * np.pi * syllables * t))
    return (0.05 * x + 0.002 * rng.standard_normal(len(t))).astype(np.float32)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `ravdess` and `emodb` with the names of the real ones and our sounds."""
    root = tmp_path_factory.mktemp("corpora")
    for emotion, (letter, number) in CODES.items():
        for actor in range(1, 7):
            for take in (1, 2):
                file = (
                    root / "ravdess" / f"Actor_{actor:02}" / f"03-01-{number}-01-01-{take:02}-{actor:02}.wav"
                )
                file.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(file, clip(emotion, actor, take), RATE)
        for speaker in ("03", "08", "09", "10"):
            for take in "ab":
                file = root / "emodb" / "wav" / f"{speaker}a01{letter}{take}.wav"
                file.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(file, clip(emotion, int(speaker), ord(take)), RATE)
    return root


@pytest.fixture
def small(recipe: ModuleType, corpora: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The recipe over two small corpora, with a short training, and another home for shipped bundles."""

    monkeypatch.setattr(recipe, "SHARES", SHARES)
    monkeypatch.setattr(recipe, "clips", partial(recipe.clips, names=SHARES))
    monkeypatch.setattr(recipe, "Pool", partial(recipe.Pool, n_variants=1))
    net = replace(recipe.NET, n_members=2, hidden=16)
    monkeypatch.setattr(recipe, "trained", partial(recipe.trained, train=TINY_TRAIN, steps=120, net=net))
    held = {"ravdess": (("ravdess-01",), ("ravdess-02",)), "emodb": (("emodb-10",), ("emodb-09",))}
    monkeypatch.setattr(recipe, "HELD_OUT", held)
    default = recipe.Shipped(SHARES, recipe.NON_COMMERCIAL, "a miniature")
    monkeypatch.setattr(recipe, "SHIPPED", {"default": default})
    monkeypatch.setattr(recipe, "emovox", SimpleNamespace(__file__=str(tmp_path / "emovox" / "__init__.py")))
    return recipe


def test_help_names_every_command() -> None:
    done = subprocess.run(
        [sys.executable, RECIPES / "vox.py", "--help"], capture_output=True, text=True, check=True
    )
    for word in ("cache", "fold", "folds", "loco", "ship", "--corpora"):
        assert word in done.stdout
    assert not done.stderr


@pytest.mark.parametrize("words", [["fold"], ["fold", "7"], ["loco", "savee"], ["ship"], ["cache", "x"]])
def test_what_it_does_not_know_it_refuses(
    recipe: ModuleType, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["vox.py", *words, "--corpora", "nowhere"])
    with pytest.raises(SystemExit, match="2"):
        recipe.main()
    assert f"{words[0]} takes" in capsys.readouterr().err


def test_nobody_held_out_is_in_two_lists(recipe: ModuleType) -> None:
    for corpus, (fitting, scoring) in recipe.HELD_OUT.items():
        assert corpus in recipe.SHARES
        assert not set(fitting) & set(scoring)
        assert all(speaker.startswith(f"{corpus}-") for speaker in (*fitting, *scoring))
    for kind in recipe.SHIPPED.values():
        assert set(kind.shares) <= set(recipe.SHARES)


@pytest.mark.slow
def test_the_cache_is_the_front_end_on_the_clip(
    small: ModuleType, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = small.clips(corpora)
    some = manifest.select(manifest.ids[::9])
    pool = small.Pool(some, tmp_path)  # in two processes, as the recipe does it
    plain = small._vectors_of([(str(some.file(u)), u.id, 0) for u in some])
    np.testing.assert_array_equal(pool.variants[0], plain)
    varied = small._vectors_of([(str(some.file(u)), u.id, 1) for u in some])
    np.testing.assert_array_equal(pool.variants[1], varied)
    assert (np.abs(varied - plain).max(1) > 0.1).all()

    monkeypatch.setattr(small, "_computed", None)  # the second time nothing is computed
    again = small.Pool(some, tmp_path)
    np.testing.assert_array_equal(again.variants[1], varied)
    assert small._key(some) != small._key(manifest)


@pytest.fixture
def run(
    small: ModuleType,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., dict[str, Any]]:
    """``run("loco", "emodb")`` runs that command over the small corpora and gives its JSON line."""

    def computed(manifest: Manifest, variant: int) -> np.ndarray:
        return small._vectors_of([(str(manifest.file(u)), u.id, variant) for u in manifest])

    monkeypatch.setattr(small, "_computed", computed)  # two processes would take longer to start
    places = ["--corpora", corpora, "--cache", tmp_path / "cache", "--out", tmp_path / "out", "--threads", 1]

    def run(*words: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", ["vox.py", *words, *map(str, places)])
        small.main()
        line = capsys.readouterr().out.splitlines()[-1]
        assert (tmp_path / "out" / f"{'-'.join(words)}.json").read_text() == line + "\n"
        return dict(json.loads(line))

    return run


@pytest.mark.slow
def test_a_corpus_left_out_is_never_met(
    run: Callable[..., dict[str, Any]], small: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on: list[str] = []

    def bundled(vox: Any, pool: Any, folder: Path, names: Any, **about: Any) -> Any:
        assert about["corpora"] == {"ravdess": 1.0}
        return vox, pool, names

    def judged(model: Any, manifest: Manifest, labels: Any) -> Predictions:
        vox, pool, names = model
        rows = pool.among(pool.ids, manifest.ids)
        logits = small.answers(vox, pool, rows)[:, [names.index(name) for name in labels]]
        return Predictions(
            ids=tuple(pool.ids[rows]),
            labels=labels,
            y_true=tuple(pool.emotions[rows]),
            y_pred=tuple(labels[k] for k in logits.argmax(1)),
            speakers=tuple(pool.speakers[rows]),
            corpora=tuple(pool.corpora[rows]),
            probabilities=np.exp(logits),
            abstained=np.zeros(len(logits), bool),
        )

    trained = small.trained

    def told(pool: Any, training: np.ndarray, shares: Any) -> Any:
        trained_on.extend(pool.ids[training])
        return trained(pool, training, shares)

    for name, stand_in in {"bundled": bundled, "predict_manifest": judged, "trained": told}.items():
        monkeypatch.setattr(small, name, stand_in)  # the way through a bundle is tested below
    result = run("loco", "emodb")
    assert len(trained_on) == 6 * 4 * 2
    assert all(key.startswith("ravdess/") for key in trained_on)
    assert result["left_out"] == "emodb"
    assert result["uar"]["n_clips"] == 4 * 4 * 2
    assert result["uar"]["value"] > 0.5  # chance is 0.25
    assert 0.25 <= result["share"] < 0.8
    rows = (tmp_path / "out" / "loco-emodb" / "answers.csv").read_text().splitlines()
    assert rows[0] == "id,speaker,true,pred"
    assert len(rows) == 1 + 32
    assert all(row.startswith("emodb/") for row in rows[1:])


@pytest.mark.slow
def test_a_miniature_is_trained_exported_scored_and_shipped(
    run: Callable[..., dict[str, Any]], small: ModuleType, corpora: Path, tmp_path: Path
) -> None:
    left_out = {"value": 0.61234, "low": None, "high": None, "n_speakers": 4, "n_clips": 32}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "loco-emodb.json").write_text(json.dumps({"left_out": "emodb", "uar": left_out}))
    shipped = run("ship", "default")

    folder = tmp_path / "emovox" / "models" / "default"
    spec = read_spec(folder)
    assert spec.labels == ("neutral", "happy", "sad", "angry")
    assert spec.corpora == ("emodb", "ravdess")
    assert 0.02 <= spec.temperature <= 50
    assert 0 < spec.abstain.confidence < 1

    # Held-out speakers are scored; what the recipe scored stands beside them.
    found = {(s.corpus, s.metric): s for s in spec.scores if s.protocol == "held-out speakers"}
    assert found["all", "uar"].value > 0.6
    assert [found[c, "uar"].n_clips for c in ("all", "ravdess", "emodb")] == [16, 8, 8]
    assert found["all", "uar"].low is None  # two speakers have no interval
    assert {metric for _, metric in found} >= {"uar", "ece", "coverage"}
    others = [s for s in spec.scores if s.protocol != "held-out speakers"]
    assert [(s.corpus, s.metric, s.value, s.n_clips) for s in others] == [("emodb", "uar", 0.6123, 32)]
    assert len(shipped["scores"]) == len(found)

    # What is shipped answers what was scored.
    manifest = small.clips(corpora)
    held = manifest.keep(lambda u: u.speaker in ("ravdess-02", "emodb-09"))
    again = predict_manifest(Recognizer(load_bundle(folder)), held)
    assert again.uar().value == pytest.approx(found["all", "uar"].value, abs=1e-4)
    assert again.coverage() == pytest.approx(found["all", "coverage"].value, abs=1e-4)


def test_two_systems_are_paired_over_the_speakers_of_their_folds(tmp_path: Path) -> None:
    """One is right on every clip of half of the speakers, and as the other on the rest."""

    def answered(runs: Path, better: bool) -> str:
        for number in range(1, 7):
            rows = ["id,speaker,true,pred"]
            for speaker in range(4 * number, 4 * number + 4):
                for k, emotion in enumerate(("angry", "sad")):
                    pred = emotion if better and speaker % 2 else "angry"
                    rows.append(f"{speaker}-{k},{speaker},{emotion},{pred}")
            (runs / f"fold{number}").mkdir(parents=True)
            (runs / f"fold{number}/answers.csv").write_text("\n".join(rows) + "\n")
        return str(runs)

    one, other = answered(tmp_path / "one", better=True), answered(tmp_path / "other", better=False)

    def asked(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(RECIPES / "vox_card.py"), "paired", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    done = asked("--runs", one, "--against", other)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["value"] == pytest.approx(0.25)
    assert 0.1 < found["low"] < 0.25 < found["high"] < 0.4
    assert (found["n_speakers"], found["n_clips"]) == (24, 48)
    assert asked("--runs", one).returncode == 2
    (tmp_path / "other/fold6/answers.csv").write_text("id,speaker,true,pred\n24-0,24,angry,sad\n")
    assert "not tested on the same clips" in asked("--runs", one, "--against", other).stderr
