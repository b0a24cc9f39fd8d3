"""Changed copies: the same whenever they are made, of training clips alone, kept under all they depend on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("yaml")

from emovox import audio
from emovox.augment import Plan
from emovox.augment.clips import copies_of, copy_id, made_first, plan_of, write_copies
from emovox.datasets.manifest import Manifest
from emovox.datasets.overlap import audit
from emovox.datasets.protocols import make_splits
from emovox.datasets.splits import COPY_OF
from emovox.errors import ConfigError
from emovox.features.cache import Store
from emovox.features.extraction import table
from emovox.training.config import AugmentConfig, Config, read_config, to_yaml
from voices import toy_corpus

STEPS = ({"kind": "noise", "snr_db": [10, 20]}, {"kind": "shift", "share": 0.5})
CONFIG = Config(augment=AugmentConfig(copies=2, steps=STEPS), seed=3)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return toy_corpus(tmp_path_factory.mktemp("copies") / "toy")


def test_a_config_reads_back_and_its_steps_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(to_yaml(CONFIG), encoding="utf-8")
    assert read_config(path) == CONFIG
    assert plan_of(read_config(path, ["augment.copies=0"]).augment) is None, "how it is switched off"
    assert plan_of(Config().augment) is None
    assert plan_of(read_config(None, ["augment={copies: 1, steps: []}"]).augment) is None, "as runs save it"
    with pytest.raises(ConfigError, match=r"augment\.copies is 2, but augment\.steps holds no step"):
        plan_of(read_config(None, ["augment.copies=2"]).augment)
    with pytest.raises(ConfigError, match=r"step 2 of the augmentation: .*did you mean 'shift'"):
        plan_of(replace(CONFIG.augment, steps=(STEPS[0], {"kind": "shft"})))
    for change, told in (
        ("augment.copies=-1", "expected 0 to 100"),
        ("augment.steps=[noise]", "expected keys and values"),
        ("augment.step=[]", "did you mean 'augment.steps'"),
    ):
        with pytest.raises(ConfigError, match=told):
            read_config(None, [change])


def test_copies_are_the_plans_variants(toy: Manifest) -> None:
    ids = toy.ids[:3]
    clips = copies_of(toy, ids, CONFIG)
    assert [clip.id for clip in clips] == [copy_id(key, n) for key in ids for n in (1, 2)]
    plan = Plan.of(STEPS)
    for clip in clips:
        assert clip.change is not None
        key, _, number = clip.id.rpartition("#")
        x = audio.read(toy.file(toy[key]))
        expected = plan.variants(x, key, 2, seed=3)[int(number)]
        np.testing.assert_array_equal(clip.change(x), expected)
    assert copies_of(toy, ids, replace(CONFIG, augment=AugmentConfig())) == []


def test_features_of_copies_are_kept_under_what_they_depend_on(toy: Manifest, tmp_path: Path) -> None:
    ids, store = toy.ids[:2], Store(tmp_path)
    table(toy.select(ids), "seed-180", store=store)
    first = table(copies_of(toy, ids, CONFIG), "seed-180", store=store)
    again = table(copies_of(toy, ids, CONFIG), "seed-180", store=store, workers=2)
    assert (first.tally.made, again.tally.found) == (4, 4)
    np.testing.assert_array_equal(first.values, again.values)
    assert len(np.unique(first.values.round(3), axis=0)) == 4, "each copy is another"
    other = replace(CONFIG, augment=AugmentConfig(copies=2, steps=({"kind": "noise", "snr_db": 12},)))
    for config in (replace(CONFIG, seed=4), other):
        assert table(copies_of(toy, ids, config), "seed-180", store=store).tally.made == 4


def test_noises_of_a_folder_are_part_of_the_name(toy: Manifest, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "hum.wav", np.zeros(16_000), 16_000)
    steps = ({"kind": "background", "folder": str(tmp_path)},)
    config = Config(augment=AugmentConfig(steps=steps))

    def name() -> str:
        change = copies_of(toy, toy.ids[:1], config)[0].change
        assert change is not None
        return change.name

    before = name()
    assert name() == before
    soundfile.write(tmp_path / "hiss.wav", np.zeros(16_000), 16_000)
    assert name() != before


def test_made_first_they_stand_on_both_sides_and_an_audit_says_so(toy: Manifest, tmp_path: Path) -> None:
    config = replace(CONFIG, augment=AugmentConfig(copies=1, steps=({"kind": "pitch", "semitones": 5},)))
    whole = made_first(toy, config, tmp_path)
    assert not list(tmp_path.iterdir()), "who only asks what would be on both sides makes no sound"
    write_copies(toy, config, tmp_path)
    assert len(whole) == 2 * len(toy)
    key = toy.ids[0]
    copy = whole[copy_id(key, 1)]
    assert (copy.extra[COPY_OF], copy.speaker, copy.emotion) == (key, toy[key].speaker, toy[key].emotion)
    x = audio.read(toy.file(toy[key]))
    expected = Plan.of(config.augment.steps).variants(x, key, 1, seed=3)[1]
    np.testing.assert_allclose(audio.read(whole.file(copy)), expected, atol=1e-4)
    (split,) = make_splits(whole, "random")
    found = audit(whole, split, hear=False)
    assert found.stamp == split.stamp == "contaminated"
    assert {whole[a].extra.get(COPY_OF, a) for a, _ in found.named} <= set(toy.ids)
    json.dumps(found.to_dict())
    strict = make_splits(whole, "speaker-kfold/2")[0]
    assert audit(whole, strict, hear=False).named == (), "a speaker's copies go where the speaker goes"
    made = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert made_first(toy, config, tmp_path) == whole
    write_copies(toy, config, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == made, "what is there is taken"
    with pytest.raises(ConfigError, match="makes no copies"):
        made_first(toy, replace(config, augment=AugmentConfig()), tmp_path)
