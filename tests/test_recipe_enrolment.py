"""The recipe of the enrolment curve: nobody enrolls with the clip that is judged; bundle and arrays agree."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("sklearn")
pytest.importorskip("onnx")

from emovox.bundles import load_bundle
from emovox.datasets import Manifest
from emovox.datasets.manifest import Utterance
from emovox.inference.recognizer import Recognizer
from speech import voice

EMOTIONS = {"neutral": "01", "calm": "02", "happy": "03", "angry": "05"}


@pytest.fixture(scope="module")
def recipe() -> Iterator[ModuleType]:
    sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
    import enrolment  # type: ignore[import-not-found]

    yield enrolment
    sys.path.remove(str(Path(__file__).parents[1] / "recipes"))


def clips(recipe: ModuleType, n_speakers: int = 6, n_takes: int = 5) -> Any:
    """Rows in which the voice is far louder than the emotion; the last column is the clip's own number."""
    rng = np.random.default_rng(0)
    utterances, rows = [], []
    for speaker in range(n_speakers):
        offset = 6 * rng.standard_normal(8)
        for e, emotion in enumerate(EMOTIONS):
            for take in range(n_takes):
                key = f"x/{speaker}-{emotion}-{take}"
                utterances.append(
                    Utterance(key, f"{key}.wav", "x", f"x-{speaker}", emotion, original=emotion)
                )
                shown = np.eye(4)[e].repeat(2) * 2 + 0.5 * rng.standard_normal(8)
                rows.append([*(offset + shown), float(len(rows))])
    manifest = Manifest(Path("x"), tuple(utterances))
    return recipe.Clips(
        manifest,
        np.array(rows, np.float32),
        np.array([u.emotion for u in utterances]),
        np.array([u.speaker for u in utterances]),
        np.full(len(rows), 3.0),
    )


def test_knowing_the_voice_helps_and_the_more_the_better(recipe: ModuleType) -> None:
    given = clips(recipe)
    test = given.speakers == "x-0"
    model = recipe.trained(given.where(~test), recipe.Config(sizes=(0, 3, 10), neutral=(3,)))
    without, found = recipe.judged(model, given.where(test), 5)
    points = {(p.regime, p.seconds): p.uar for p in recipe.pooled([(given.where(test), without, found)])}
    assert points["any emotion", 30.0] > points[recipe.NONE, 0.0] + 0.2
    assert points["any emotion", 30.0] > points["any emotion", 5.0]
    assert ("neutral and calm", 60.0) not in points  # there are 27 s of it beside a clip, no more
    assert recipe.available_s(given, "neutral and calm") == 27.0


@pytest.mark.parametrize("regime", ["any emotion", "neutral and calm"])
def test_nobody_is_enrolled_with_the_clip_that_is_judged(recipe: ModuleType, regime: str) -> None:
    given = clips(recipe, n_speakers=2)
    seen: list[tuple[set[int], set[int]]] = []
    known: set[int] = set()

    def enrolled(rows: np.ndarray) -> None:
        known.clear()
        known.update(rows[:, -1].astype(int).tolist())

    def answers(rows: np.ndarray, voice: Any) -> np.ndarray:
        seen.append((set(known), set(rows[:, -1].astype(int).tolist())))
        return np.full(len(rows), "happy")

    spy = SimpleNamespace(normaliser=SimpleNamespace(enroll=enrolled), answers=answers)
    recipe.enrolled_answers(spy, given, regime, 9.0, 3)
    assert not any(enrolling & judged for enrolling, judged in seen)
    assert all(len(enrolling) == 3 for enrolling, _ in seen)
    for draw_of_a_speaker in (range(20), range(20, 40)):  # every clip is judged in every draw
        assert sum(len(judged & set(draw_of_a_speaker)) for _, judged in seen) == 3 * 20
    usable = recipe.in_regime(given, regime)
    assert all(usable[list(enrolling)].all() for enrolling, _ in seen)
    same_speaker = [{given.speakers[i] for i in enrolling | judged} for enrolling, judged in seen]
    assert all(len(speakers) == 1 for speakers in same_speaker)


@pytest.mark.parametrize(
    ("limit_s", "expected"), [(1.0, (4,)), (7.0, (4, 1)), (9.0, (4, 1, 3)), (99.0, (4, 1, 3, 0))]
)
def test_whole_clips_that_fit_one_at_least(
    recipe: ModuleType, limit_s: float, expected: tuple[int, ...]
) -> None:
    order, seconds = np.array([4, 1, 2, 3, 0]), np.array([2.0, 3.0, 9.0, 2.0, 4.0])
    assert recipe.known_clips(order, seconds, judged=2, limit_s=limit_s) == expected


def test_what_ships_is_what_was_fitted(
    recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "SET", "seed-180")
    monkeypatch.setattr(recipe, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(recipe, "CONFIG", recipe.Config(sizes=(0, 2), neutral=(2,)))
    for actor in range(1, 5):
        folder = tmp_path / "ravdess" / f"Actor_{actor:02}"
        folder.mkdir(parents=True)
        for place, number in enumerate(EMOTIONS.values()):
            for take in (1, 2):
                x = voice(0.7 + 0.1 * take, pitch_hz=80 + 15 * actor + 25 * place)
                soundfile.write(folder / f"03-01-{number}-01-01-{take:02}-{actor:02}.wav", x, 16_000)
    given = recipe.list_clips(tmp_path)
    told = recipe.ship(given, tmp_path / "bundle")
    model = recipe.trained(given)
    opened = Recognizer(load_bundle(tmp_path / "bundle"), vad="off")
    assert opened.spec.temperature == told["temperature"]
    assert recipe.check(opened, model, given) < 1e-5
