"""Split plans: what a protocol's splits share, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from emovox.datasets.loading import Dataset
from emovox.datasets.manifest import Manifest
from emovox.datasets.overlap import fingerprint_clips
from emovox.datasets.split_plan import make_split, plan_splits
from emovox.errors import ConfigError, ProtocolError
from emovox.evaluation.leakage import hash_clips
from voices import toy_corpus, toy_tree


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return toy_corpus(tmp_path_factory.mktemp("plan") / "toy", n_speakers=6)


def test_reasons_name_what_is_shared(toy: Manifest) -> None:
    strict, leaky = plan_splits(toy, "speaker-kfold/2"), plan_splits(toy, "random")
    assert (strict.stamp, leaky.stamp) == ("strict", "speaker-dependent")
    assert strict.reasons == ("the clips were not compared by sound",)
    assert "6 speakers on both sides" in leaky.reasons
    nameless = replace(toy, utterances=tuple(replace(u, speaker="toy-unknown") for u in toy))
    reasons = plan_splits(nameless, "random").reasons
    assert reasons[0].startswith(f"the speakers of {len(toy)} of the {len(toy)} clips are unknown")
    assert not any("speakers on both sides" in reason for reason in reasons)
    compared = plan_splits(toy, "speaker-kfold/2", fingerprints=fingerprint_clips(toy)[0])
    assert (compared.stamp, compared.reasons) == ("strict", ("nothing known is shared",))


@pytest.fixture
def planted(toy: Manifest, tmp_path: Path) -> Manifest:
    """The toy corpus with a quieter copy of speaker 0's first clip under the name of speaker 1."""
    x, rate = soundfile.read(toy.file(toy.utterances[0]), dtype="float32")
    soundfile.write(tmp_path / "copy.wav", 0.4 * x, rate)
    (tmp_path / "toy").symlink_to(toy.root)
    rows = [replace(u, path=f"toy/{u.path}") for u in toy]
    copy = replace(rows[0], id="toy/copy", path="copy.wav", speaker="toy-1")
    return Manifest(tmp_path, (*rows, copy))


def test_contaminated_splits_are_refused_unless_allowed(planted: Manifest) -> None:
    prints = fingerprint_clips(planted)[0]
    with pytest.raises(ProtocolError, match="--allow contaminated") as caught:
        plan_splits(planted, "speakers/toy-1", fingerprints=prints)
    assert "toy/0-neutral-0 = toy/copy" in str(caught.value)
    allowed = plan_splits(planted, "speakers/toy-1", fingerprints=prints, allow=("contaminated",))
    assert allowed.stamp == "contaminated", "the stamp stays"
    with pytest.raises(ProtocolError, match="cannot be allowed"):
        plan_splits(planted, "random", allow=("everything",))


def test_identical_files_are_contaminated(toy: Manifest) -> None:
    first = toy.utterances[0]
    twin = replace(first, id="toy/twin", speaker="toy-1")
    manifest = replace(toy, utterances=(*toy.utterances, twin))
    plan = plan_splits(manifest, "speakers/toy-1")
    assert plan.stamp == "strict", "by names alone"
    flagged = plan.flag_identical(hash_clips(manifest))
    assert flagged.stamp == "contaminated"
    assert f"{first.id} = toy/twin" in flagged.reasons[0]


def test_one_split_is_made(toy: Manifest, tmp_path: Path) -> None:
    assert make_split(toy).splits[0].name == "speaker-kfold/5/0/1"
    assert make_split(Dataset.load(toy_tree(tmp_path / "mine")).manifest).splits[0].name == "given"
    alone = toy.where(speaker="toy-1")
    assert make_split(alone).stamp == "speaker-dependent"
    with pytest.raises(ProtocolError, match="speaker-kfold/5/0/1"):
        make_split(toy, "speaker-kfold")
    with pytest.raises(ConfigError, match="express sad; expected at least two"):
        make_split(toy.where(emotion="sad"))
