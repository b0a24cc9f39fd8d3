"""The recipe of the models 2.0: its commands, and the whole of it in miniature."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import emovox  # noqa: E402
from emovox import audio  # noqa: E402
from emovox.bundles import read_spec  # noqa: E402
from emovox.datasets import Manifest, scan  # noqa: E402
from emovox.evaluation.predictions import predict_manifest  # noqa: E402
from emovox.features.cache import FeatureCache  # noqa: E402

RECIPES = Path(__file__).parents[2] / "recipes"
RATE = 16_000

# Both corpora show these four; the letters are EMO-DB's, the numbers RAVDESS's.
CODES = {"neutral": ("N", "01"), "happy": ("F", "03"), "sad": ("T", "04"), "angry": ("W", "05")}
SHARES = {"ravdess": 1.0, "emodb": 0.5}
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
def small(recipe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The recipe over two small corpora, with a short training."""
    import vox_ship

    monkeypatch.setattr(recipe, "SHARES", SHARES)
    monkeypatch.setattr(recipe, "STEPS", 120)
    monkeypatch.setattr(recipe, "TRAIN", replace(recipe.TRAIN, batch_size=32, learning_rate=5e-3))
    monkeypatch.setattr(recipe, "NET", replace(recipe.NET, n_members=2, hidden=16))
    held = {"ravdess": (("ravdess-01",), ("ravdess-02",)), "emodb": (("emodb-10",), ("emodb-09",))}
    monkeypatch.setattr(vox_ship, "HELD_OUT", held)
    monkeypatch.setattr(vox_ship, "SHIPPED", {"default": (SHARES, recipe.NON_COMMERCIAL)})
    return recipe


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(
    small: ModuleType,
    corpora: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., dict[str, Any]]:
    """``run(module, "loco", "emodb")`` runs that command over the small corpora and returns its JSON line."""

    def call(module: ModuleType, *words: str) -> dict[str, Any]:
        places = ["--corpora", corpora, "--cache", cache, "--out", tmp_path / "out", "--workers", 1]
        monkeypatch.setattr(sys, "argv", ["vox.py", *words, *map(str, places)])
        module.main()
        return dict(json.loads(capsys.readouterr().out.splitlines()[-1]))

    return call


def test_help_names_every_command() -> None:
    for script, words in (("vox.py", ("fold", "folds", "loco", "loso")), ("vox_ship.py", ("default",))):
        command = [sys.executable, RECIPES / script, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert all(word in done.stdout for word in (*words, "--corpora"))
        assert not done.stderr


@pytest.mark.parametrize("words", [["fold"], ["fold", "7"], ["loco", "savee"], ["folds", "x"]])
def test_unknown_words_are_refused(
    recipe: ModuleType, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["vox.py", *words, "--corpora", "nowhere"])
    with pytest.raises(SystemExit, match="2"):
        recipe.main()
    assert f"{words[0]} takes" in capsys.readouterr().err


def test_held_out_speakers_are_in_one_list(recipe: ModuleType) -> None:
    import vox_ship

    for corpus, (fitting, scoring) in vox_ship.HELD_OUT.items():
        assert corpus in recipe.SHARES
        assert not set(fitting) & set(scoring)
        assert all(speaker.startswith(f"{corpus}-") for speaker in (*fitting, *scoring))
    for shares, _ in vox_ship.SHIPPED.values():
        assert set(shares) <= set(recipe.SHARES)


def test_script_is_short() -> None:
    for name in ("vox.py", "vox_features.py", "vox_ship.py"):
        assert len((RECIPES / name).read_text().splitlines()) <= 200


@pytest.mark.slow
def test_vectors_are_the_front_end_on_the_variants(small: ModuleType, corpora: Path, tmp_path: Path) -> None:
    import vox_features

    manifest = Manifest.merged([scan(name, corpora / name)[0] for name in SHARES])
    some = manifest.select(manifest.ids[::20])
    one, two = (small.Pool(some, tmp_path / str(workers), workers) for workers in (1, 2))
    for left, right in zip(one.variants, two.variants, strict=True):
        np.testing.assert_array_equal(left, right)
    u = some.utterances[0]
    x = audio.read(some.file(u))
    np.testing.assert_array_equal(one.variants[0][0], vox_features.functionals(x, RATE))
    varied = vox_features.Variant(3, u.id)(x)
    np.testing.assert_array_equal(one.variants[3][0], vox_features.functionals(varied, RATE))
    assert all((np.abs(one.variants[v] - one.variants[0]).max(1) > 0.1).all() for v in (1, 2, 3))
    assert len(one.variants[4]) == len(some.where(corpus="ravdess"))
    assert FeatureCache(tmp_path / "1").root.is_dir()


@pytest.mark.slow
def test_left_out_corpus_is_not_trained_on(
    run: Callable[..., dict[str, Any]], small: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on: list[str] = []
    train = small.Pool.train

    def record(pool: Any, ids: Any, shares: Any) -> Any:
        trained_on.extend(ids)
        return train(pool, ids, shares)

    monkeypatch.setattr(small.Pool, "train", record)
    result = run(small, "loco", "emodb")
    assert len(trained_on) == 6 * 4 * 2
    assert all(key.startswith("ravdess/") for key in trained_on)
    assert result["n_clips"] == 4 * 4 * 2
    assert result["uar"] > 0.5  # chance is 0.25
    (file,) = (tmp_path / "out").glob("*.csv")
    assert len(file.read_text().splitlines()) == 1 + 32
    assert read_spec(file.with_suffix("")).corpora == ("ravdess",)
    trained_on.clear()
    assert run(small, "loco", "emodb") == result
    assert trained_on == [], "a bundle that is there is not trained again"


@pytest.mark.slow
def test_miniature_is_trained_scored_and_shipped(
    run: Callable[..., dict[str, Any]], small: ModuleType, corpora: Path, cache: Path, tmp_path: Path
) -> None:
    import vox_ship

    shipped = run(vox_ship, "default")
    spec = read_spec(tmp_path / "out" / "default")
    assert spec.labels == ("neutral", "happy", "sad", "angry")
    assert spec.corpora == ("emodb", "ravdess")
    assert spec.protocol == "speakers/emodb-09,ravdess-02"
    assert 0.02 <= spec.temperature <= 50
    assert 0 < spec.abstain.confidence < 1
    assert spec.scores[0].value == pytest.approx(shipped["uar"])
    assert shipped["uar"] > 0.6
    assert spec.scores[0].n_clips == 16
    manifest = small.Pool.load(corpora, cache, 1).manifest
    held = manifest.keep(lambda u: u.speaker in ("ravdess-02", "emodb-09"))
    again = predict_manifest(emovox.load(tmp_path / "out" / "default"), held)
    assert again.uar().value == pytest.approx(shipped["uar"], abs=1e-6), "what is shipped is what was scored"


def test_two_systems_are_paired_over_the_speakers_of_their_folds(tmp_path: Path) -> None:
    """One is right on every clip of half of the speakers, and as the other on the rest."""

    def answered(runs: Path, better: bool) -> str:
        for number in range(1, 7):
            rows = ["id,speaker,true,answer"]
            for speaker in range(4 * number, 4 * number + 4):
                for k, emotion in enumerate(("angry", "sad")):
                    pred = emotion if better and speaker % 2 else "angry"
                    rows.append(f"{speaker}-{k},{speaker},{emotion},{pred}")
            runs.mkdir(exist_ok=True)
            (runs / f"emobox-ravdess-{number}.csv").write_text("\n".join(rows) + "\n")
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
    (tmp_path / "other/emobox-ravdess-6.csv").write_text("id,speaker,true,answer\n24-0,24,angry,sad\n")
    assert "not tested on the same clips" in asked("--runs", one, "--against", other).stderr
