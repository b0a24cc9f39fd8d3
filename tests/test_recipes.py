"""The recipe of the shipped models runs: its command, and the whole of it in miniature."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from emovox.bundle import load_bundle, read_spec  # noqa: E402
from emovox.evaluate import evaluate  # noqa: E402
from emovox.nets.vox import VoxConfig  # noqa: E402
from emovox.recognizer import Recognizer  # noqa: E402
from emovox.train import TrainConfig  # noqa: E402

RECIPES = Path(__file__).parents[1] / "recipes"
RATE = 16_000

# Both corpora show these four; the letters are EMO-DB's, the numbers RAVDESS's.
CODES = {"neutral": ("N", "01"), "happy": ("F", "03"), "sad": ("T", "04"), "angry": ("W", "05")}
SHARES = {"ravdess": 1.0, "emodb": 0.5}
TINY_TRAIN = TrainConfig(steps=120, batch_size=32, learning_rate=5e-3)
TINY_NET = VoxConfig(n_members=2, hidden=16)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
    monkeypatch.setattr(recipe, "trained", partial(recipe.trained, train=TINY_TRAIN, net=TINY_NET))
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


@pytest.mark.slow
def test_a_miniature_trains_exports_and_is_shipped(
    small: ModuleType,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def computed(manifest: object, variant: int) -> np.ndarray:
        return small._vectors_of([(str(manifest.file(u)), u.id, variant) for u in manifest])  # type: ignore[attr-defined]

    monkeypatch.setattr(small, "_computed", computed)  # here, for two processes take longer to start
    places = ["--corpora", corpora, "--cache", tmp_path / "cache", "--out", tmp_path / "out", "--threads", 1]

    def run(*words: str) -> dict[str, object]:
        monkeypatch.setattr(sys, "argv", ["vox.py", *words, *map(str, places)])
        small.main()
        line = capsys.readouterr().out.splitlines()[-1]
        assert (tmp_path / "out" / f"{'-'.join(words)}.json").read_text() == line + "\n"
        return json.loads(line)

    # One corpus left out: its clips are what is answered, all of them, by a bundle that never saw them.
    left = run("loco", "emodb")
    assert left["left_out"] == "emodb"
    assert left["uar"]["n_clips"] == 4 * 4 * 2
    assert left["uar"]["value"] > 0.5  # chance is 0.25
    rows = (tmp_path / "out" / "loco-emodb" / "answers.csv").read_text().splitlines()
    assert len(rows) == 1 + 32
    assert all(row.startswith("emodb/") for row in rows[1:])
    assert read_spec(tmp_path / "out" / "loco-emodb").corpora == ("ravdess",)

    # The shipped bundle: held-out speakers are scored, what the recipe scored stands beside them.
    shipped = run("ship", "default")
    spec = read_spec(tmp_path / "emovox" / "models" / "default")
    assert spec.labels == ("neutral", "happy", "sad", "angry")
    assert spec.corpora == ("emodb", "ravdess")
    assert 0.2 <= spec.temperature <= 5
    assert 0 < spec.abstain.confidence < 1
    found = {(s.corpus, s.metric): s for s in spec.scores if s.protocol == "held-out speakers"}
    assert found["all", "uar"].value > 0.6
    assert (found["ravdess", "uar"].n_clips, found["emodb", "uar"].n_clips) == (8, 8)
    assert found["all", "uar"].n_clips == 16
    assert found["all", "uar"].low is None  # two speakers have no interval
    recipe_scores = [s for s in spec.scores if s.protocol.startswith("recipe, corpus left out")]
    assert [s.value for s in recipe_scores if s.corpus == "emodb"] == [round(left["uar"]["value"], 4)]
    assert len(shipped["scores"]) == len(spec.scores) - 1

    # What is in the wheel answers what was scored.
    model = Recognizer(load_bundle(tmp_path / "emovox" / "models" / "default"))
    manifest = small.clips(corpora)
    held = evaluate(model, manifest.keep(lambda u: u.speaker in ("ravdess-02", "emodb-09")))
    assert held.uar().value == pytest.approx(found["all", "uar"].value, abs=1e-4)
