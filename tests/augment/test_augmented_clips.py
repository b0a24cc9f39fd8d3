"""Augmented clips: repeatable, of training clips alone, cached by everything they depend on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("yaml")

from emovox import audio
from emovox.augment import Pipeline
from emovox.augment.clips import augmented_id, augmented_manifest, make_augmentation, write_augmented
from emovox.datasets.manifest import Manifest
from emovox.datasets.overlap import audit_split
from emovox.datasets.protocols import make_splits
from emovox.datasets.splits import COPY_OF
from emovox.errors import ConfigError
from emovox.features.cache import FeatureCache
from emovox.features.extraction import Clip, extract
from emovox.training.config import AugmentConfig, Config, read_config, to_yaml
from voices import toy_corpus

STEPS = ({"kind": "noise", "snr_db": [10, 20]}, {"kind": "shift", "share": 0.5})
CONFIG = Config(augment=AugmentConfig(copies=2, steps=STEPS), seed=3)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return toy_corpus(tmp_path_factory.mktemp("copies") / "toy")


def augmented(manifest: Manifest, ids: Sequence[str], config: Config) -> list[Clip]:
    augmentation = config.augmentation()
    return [] if augmentation is None else augmentation.clips(manifest.select(ids))


def test_config_round_trip_and_errors(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(to_yaml(CONFIG), encoding="utf-8")
    assert read_config(path) == CONFIG
    assert read_config(path, ["augment.copies=0"]).augmentation() is None, "how it is switched off"
    assert Config().augmentation() is None
    assert read_config(None, ["augment={copies: 1, steps: []}"]).augmentation() is None, "as runs save it"
    with pytest.raises(ConfigError, match=r"augment\.copies is 2, but augment\.steps has no step"):
        read_config(None, ["augment.copies=2"]).augmentation()
    with pytest.raises(ConfigError, match=r"step 2 of the augmentation: .*did you mean 'shift'"):
        make_augmentation((STEPS[0], {"kind": "shft"}))
    for change, told in (
        ("augment.copies=-1", "expected 0 to 100"),
        ("augment.steps=[noise]", "expected keys and values"),
        ("augment.step=[]", "did you mean 'augment.steps'"),
    ):
        with pytest.raises(ConfigError, match=told):
            read_config(None, [change])


def test_clips_equal_pipeline_variants(toy: Manifest) -> None:
    ids = toy.ids[:3]
    clips = augmented(toy, ids, CONFIG)
    assert [clip.id for clip in clips] == [augmented_id(key, n) for key in ids for n in (1, 2)]
    plan = Pipeline.from_list(STEPS)
    for clip in clips:
        assert clip.change is not None
        key, _, number = clip.id.rpartition("#")
        x = audio.read(toy.file(toy[key]))
        expected = plan.variants(x, key, 2, seed=3)[int(number)]
        np.testing.assert_array_equal(clip.change(x), expected)
    assert augmented(toy, ids, replace(CONFIG, augment=AugmentConfig())) == []


def test_cache_key_of_augmented_clips(toy: Manifest, tmp_path: Path) -> None:
    ids, store = toy.ids[:2], FeatureCache(tmp_path)
    extract(toy.select(ids), "seed-180", cache=store)
    first = extract(augmented(toy, ids, CONFIG), "seed-180", cache=store)
    again = extract(augmented(toy, ids, CONFIG), "seed-180", cache=store, workers=2)
    assert (first.stats.made, again.stats.found) == (4, 4)
    np.testing.assert_array_equal(first.values, again.values)
    assert len(np.unique(first.values.round(3), axis=0)) == 4, "each copy is another"
    other = replace(CONFIG, augment=AugmentConfig(copies=2, steps=({"kind": "noise", "snr_db": 12},)))
    for config in (replace(CONFIG, seed=4), other):
        assert extract(augmented(toy, ids, config), "seed-180", cache=store).stats.made == 4


def test_name_depends_on_noise_files(toy: Manifest, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "hum.wav", np.zeros(16_000), 16_000)
    steps = ({"kind": "background", "folder": str(tmp_path)},)
    config = Config(augment=AugmentConfig(steps=steps))

    def name() -> str:
        change = augmented(toy, toy.ids[:1], config)[0].change
        assert change is not None
        return change.name

    before = name()
    assert name() == before
    soundfile.write(tmp_path / "hiss.wav", np.zeros(16_000), 16_000)
    assert name() != before


def test_augmented_manifest_is_contaminated(toy: Manifest, tmp_path: Path) -> None:
    config = replace(CONFIG, augment=AugmentConfig(copies=1, steps=({"kind": "pitch", "semitones": 5},)))
    augmentation = config.augmentation()
    assert augmentation is not None
    whole = augmented_manifest(toy, augmentation, tmp_path)
    assert not list(tmp_path.iterdir()), "who only asks what would be on both sides makes no sound"
    write_augmented(toy, augmentation, tmp_path)
    assert len(whole) == 2 * len(toy)
    key = toy.ids[0]
    copy = whole[augmented_id(key, 1)]
    assert (copy.extra[COPY_OF], copy.speaker, copy.emotion) == (key, toy[key].speaker, toy[key].emotion)
    x = audio.read(toy.file(toy[key]))
    expected = Pipeline.from_list(config.augment.steps).variants(x, key, 1, seed=3)[1]
    np.testing.assert_allclose(audio.read(whole.file(copy)), expected, atol=1e-4)
    (split,) = make_splits(whole, "random")
    found = audit_split(whole, split, compare_sound=False)
    assert found.stamp == split.stamp == "contaminated"
    assert {whole[a].extra.get(COPY_OF, a) for a, _ in found.named} <= set(toy.ids)
    json.dumps(found.to_dict())
    strict = make_splits(whole, "speaker-kfold/2")[0]
    assert audit_split(whole, strict, compare_sound=False).named == (), (
        "a speaker's copies go where the speaker goes"
    )
    made = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert augmented_manifest(toy, augmentation, tmp_path) == whole
    write_augmented(toy, augmentation, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == made, "what is there is taken"
