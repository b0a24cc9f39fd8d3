"""Splits: parts are disjoint, speakers are separated where they should be, and the stamp is right."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emovox.datasets import CORPORA, Manifest, Utterance, scan
from emovox.datasets.emobox import EMOBOX, emobox_folds, emobox_rows, emobox_split
from emovox.datasets.overlap import audit_split
from emovox.datasets.splits import (
    STAMPS,
    Split,
    cross_corpus,
    default_protocol,
    doubt_speakers,
    loso,
    random_split,
    speaker_kfold,
    stamp_of,
)
from emovox.errors import ProtocolError


def _official(name: str) -> Manifest:
    """The corpus as EmoBox (or its own rule) lists it, without any sound."""
    entry = CORPORA[name]
    keys = [row.key for row in emobox_rows(name)] if name in EMOBOX else sorted(entry.keys())
    folder = "{0}_x/{1}" if name == "emovdb" else "{0}"
    paths = [folder.format(*key.split("/")) + ".wav" if name == "emovdb" else f"{key}.wav" for key in keys]
    return Manifest(Path(name), tuple(entry.utterance(path, entry.parse(path)) for path in paths))


@pytest.fixture(scope="module")
def corpora() -> dict[str, Manifest]:
    return {name: _official(name) for name in (*EMOBOX, "ravdess_song", "banglaser")}


def _speakers(manifest: Manifest, ids: tuple[str, ...]) -> set[str]:
    return {manifest[key].speaker for key in ids}


def _sound(manifest: Manifest, split: Split) -> None:
    """What every split must keep."""
    parts = (split.train, split.validation, split.test, split.left_out)
    ids = [key for part in parts for key in part]
    assert sorted(ids) == sorted(manifest.ids), "each utterance is in one part"
    assert all(list(part) == sorted(part) for part in parts)
    assert split.train
    assert split.test
    if len(_speakers(manifest, split.train + split.validation)) >= 3:
        assert not _speakers(manifest, split.train) & _speakers(manifest, split.validation)
    shared = _speakers(manifest, split.train + split.validation) & _speakers(manifest, split.test)
    near, test = (manifest.select(ids) for ids in ((*split.train, *split.validation), split.test))
    assert (split.stamp == "speaker-dependent") == bool(shared or doubt_speakers(near, test))


# Two roads: EmoBox's paper and file lists say which folds share speakers; the stamp must agree.
SHARING = {"tess", "cremad", "emodb", "urdu", "emovdb", "asvpesd"}


@pytest.mark.parametrize("name", EMOBOX)
def test_emobox_folds_are_valid(corpora: dict[str, Manifest], name: str) -> None:
    manifest = corpora[name]
    tested: Counter[str] = Counter()
    for fold in emobox_folds(name):
        split = emobox_split(manifest, fold)
        _sound(manifest, split)
        assert split.left_out == ()
        assert set(split.test) == {f"{name}/{row.key}" for row in emobox_rows(name) if row.fold == fold}
        assert (split.stamp == "speaker-dependent") == (name in SHARING)
        tested.update(split.test)
    assert set(tested.values()) == {1}
    if len(emobox_folds(name)) > 1:
        assert len(tested) == len(manifest)


def test_songs_of_test_actors_left_out(corpora: dict[str, Manifest]) -> None:
    whole = Manifest.merged([corpora["ravdess"], corpora["ravdess_song"], corpora["emodb"]])
    for fold in range(1, 7):
        split = emobox_split(whole, fold, corpus="ravdess")
        _sound(whole, split)
        actors = _speakers(whole, split.test)
        assert len(actors) == 4
        assert len(split.test) == 240
        assert _speakers(whole, split.left_out) <= actors
        assert {whole[key].corpus for key in split.left_out} == {"ravdess_song"}
        assert not _speakers(whole, split.train + split.validation) & actors
        held = _speakers(whole, split.validation)
        # Whoever validates in speech does not sing in the training.
        assert not held & _speakers(whole, split.train)
        assert Counter(s.split("-")[0] for s in held) == {"ravdess": 4, "emodb": 2}


def test_validation_is_balanced_over_sex(corpora: dict[str, Manifest]) -> None:
    for name, n in (("ravdess", 4), ("cremad", 18), ("banglaser", 6), ("esd", 4)):
        manifest = corpora[name]
        split = speaker_kfold(manifest, 6, seed=1)[0]
        sexes = Counter({u.speaker: u.sex for u in manifest.select(split.validation)}.values())
        assert sum(sexes.values()) >= n - 3
        assert abs(sexes["male"] - sexes["female"]) <= 1, name


def test_loso_tests_everyone_once(corpora: dict[str, Manifest]) -> None:
    manifest = corpora["emodb"]
    splits = loso(manifest)
    assert [split.name for split in splits] == [f"loso/{s}" for s in manifest.speakers]
    for split, speaker in zip(splits, manifest.speakers, strict=True):
        _sound(manifest, split)
        assert _speakers(manifest, split.test) == {speaker}
        assert split.stamp == "text-shared"


@pytest.mark.parametrize("k", [2, 3, 5])
def test_speaker_kfold_deals_evenly(corpora: dict[str, Manifest], k: int) -> None:
    manifest = Manifest.merged([corpora["ravdess"], corpora["ravdess_song"], corpora["banglaser"]])
    splits = speaker_kfold(manifest, k, seed=3)
    groups = [_speakers(manifest, split.test) for split in splits]
    assert sum(len(g) for g in groups) == len(manifest.speakers) == len(set().union(*groups))
    assert max(map(len, groups)) - min(map(len, groups)) <= 1
    for split in splits:
        _sound(manifest, split)
        assert {whole.split("-")[0] for whole in _speakers(manifest, split.test)} == {"ravdess", "banglaser"}
    assert speaker_kfold(manifest, k, seed=3) == splits
    assert speaker_kfold(manifest, k, seed=4) != splits


def test_random_split_is_stratified(corpora: dict[str, Manifest]) -> None:
    manifest = corpora["ravdess"]
    split = random_split(manifest, test_share=0.25, seed=2)
    _sound(manifest, split)
    assert split.stamp == "speaker-dependent"
    assert len(split.test) == 360
    assert manifest.select(split.test).counts("emotion") == {
        e: n // 4 for e, n in manifest.counts("emotion").items()
    }
    assert random_split(manifest, seed=2) == split
    assert random_split(manifest, seed=3).digest != split.digest


def test_cross_corpus_separates_speakers(corpora: dict[str, Manifest]) -> None:
    parts = [corpora[name] for name in ("ravdess", "ravdess_song", "emodb", "tess")]
    whole = Manifest.merged(parts)
    split = cross_corpus(parts, "ravdess")
    _sound(whole, split)
    assert len(split.test) == 1440
    assert {whole[key].corpus for key in split.left_out} == {"ravdess_song"}
    assert split.stamp == "strict"
    assert cross_corpus(whole, "emodb").left_out == ()
    assert _speakers(whole, cross_corpus(whole, "emodb").validation).isdisjoint({"tess-OAF", "tess-YAF"})
    # Actor_18 does not sing, so what remains of RAVDESS is hers, and says the sentences that are sung.
    back = cross_corpus(whole, "ravdess_song")
    assert _speakers(whole, back.train + back.validation) & set(whole.where(corpus="ravdess").speakers) == {
        "ravdess-18"
    }
    assert back.stamp == "text-shared"


def test_two_speakers_validate_by_clip(corpora: dict[str, Manifest]) -> None:
    split = emobox_split(corpora["tess"], 1)
    assert len(split.validation) == round(0.2 * 2100)
    counts = corpora["tess"].select(split.validation).counts("emotion")
    assert max(counts.values()) - min(counts.values()) <= 3


def test_digest_names_the_content(corpora: dict[str, Manifest]) -> None:
    manifest = corpora["emodb"]
    split = emobox_split(manifest, 1)
    backwards = replace(manifest, utterances=manifest.utterances[::-1])
    assert emobox_split(backwards, 1) == split
    assert replace(split, name="x", train=split.train[::-1]).digest == split.digest
    assert replace(split, train=split.test, test=split.train).digest != split.digest
    assert len({emobox_split(manifest, n).digest for n in range(1, 6)}) == 5
    # Frozen: a change of the drawing must be a decision, for it changes every published number.
    assert split.digest == "eca34efee2a1ebe7"


def of_speakers(*rows: tuple[str, str]) -> Manifest:
    """Clips of ``(speaker, emotion)``, of a corpus of one's own."""
    clips = (
        Utterance(f"c/{n}", f"{n}.wav", "c", f"c-{who}", what, what) for n, (who, what) in enumerate(rows)
    )
    return Manifest(Path(), tuple(clips))


def test_emotion_folders_not_strict() -> None:
    manifest = of_speakers(*[(emotion, emotion) for emotion in ("happy", "sad", "angry") for _ in range(4)])
    for split in loso(manifest):
        assert split.stamp == "speaker-dependent"
        near = manifest.select((*split.train, *split.validation))
        doubt = doubt_speakers(near, manifest.select(split.test))
        assert doubt is not None
        assert "each of the 3 speakers of c has clips of one label alone" in doubt
        assert "c-angry 4" in doubt
        found = audit_split(manifest, split, compare_sound=False)
        assert (found.stamp, found.doubt) == ("speaker-dependent", doubt)
        assert any(line.startswith("  not strict: ") for line in found.lines())


def test_one_speaker_per_clip_not_strict() -> None:
    manifest = of_speakers(*[(str(n), "happy" if n % 2 else "sad") for n in range(12)], ("0", "happy"))
    split = speaker_kfold(manifest, 3)[0]
    assert split.stamp == "speaker-dependent"
    sides = (manifest.select(ids) for ids in ((*split.train, *split.validation), split.test))
    assert "the 13 clips of c have 12 speakers, nearly one each" in str(doubt_speakers(*sides))


def test_speakers_with_several_labels() -> None:
    manifest = of_speakers(*[(who, what) for who in "abc" for what in ("happy", "sad")], ("d", "sad"))
    assert {split.stamp for split in loso(manifest)} == {"strict"}


def test_random_default_warns() -> None:
    told: list[str] = []
    alone = of_speakers(("unknown", "sad"), ("unknown", "happy"))
    assert default_protocol(alone, warn=told.append) == "random"
    assert "warning: the data have no folders or column of parts" in told[0]
    assert "a quarter of the clips is tested at random" in told[0]
    assert (
        default_protocol(of_speakers(("a", "sad"), ("b", "sad")), warn=told.append) == "speaker-kfold/2/0/1"
    )
    assert len(told) == 1


def test_stamps() -> None:
    def row(n: int, speaker: str, text: str | None) -> Utterance:
        return Utterance(f"c/{n}", f"{n}.wav", "c", speaker, "sad", "S", text=text)

    manifest = Manifest(
        Path(), (row(0, "a", "t"), row(1, "b", "t"), row(2, "a", "u"), row(3, "b", None), row(4, "c", None))
    )
    assert stamp_of(manifest, ["c/0"], ["c/1"]) == "text-shared"
    assert stamp_of(manifest, ["c/0"], ["c/2"]) == "speaker-dependent"
    assert stamp_of(manifest, ["c/2"], ["c/1"]) == "strict"
    assert stamp_of(manifest, ["c/3"], ["c/4"]) == "strict"
    assert STAMPS[0] == "strict"
    assert STAMPS[-1] == "contaminated"


def test_impossible_splits_are_refused(corpora: dict[str, Manifest]) -> None:
    emodb = corpora["emodb"]
    both = Manifest.merged([emodb, corpora["tess"]])
    partial = emodb.keep(lambda u: u.speaker != "emodb-03")
    cases = [
        (lambda: emobox_split(emodb, 6), r"folds \(1, 2, 3, 4, 5\); got 6"),
        (lambda: emobox_split(both, 1), "emodb, tess"),
        (lambda: emobox_split(emodb, 1, corpus="tess"), "tess"),
        (lambda: emobox_split(corpora["banglaser"], 1), "none"),
        (lambda: emobox_split(partial, 1), "49 of EmoBox's 535 clips"),
        (lambda: speaker_kfold(emodb, 1), "2 or more"),
        (lambda: speaker_kfold(emodb, 11), "at least 11 speakers"),
        (lambda: loso(emodb.where(speaker="emodb-03")), "at least 2"),
        (lambda: random_split(emodb, test_share=1.0), "test_share"),
        (lambda: loso(emodb, validation_share=0.0), "validation_share"),
        (lambda: cross_corpus(emodb, "emodb"), "0 training"),
        (lambda: cross_corpus(emodb, "tess"), "there are emodb"),
        (lambda: Split("x", ("a",), (), ("a",), "strict"), "two parts"),
        (lambda: Split("x", ("a",), (), ("b",), "clean"), "stamp is 'clean'"),
        (lambda: Split("x", ("a",), (), (), "strict"), "0 test"),
    ]
    for call, says in cases:
        with pytest.raises(ProtocolError, match=says):
            call()
    split = emobox_split(partial, 1, allow_missing=True)
    assert set(split.test) < set(emobox_split(emodb, 1).test)


@st.composite
def _manifests(draw: st.DrawFn) -> Manifest:
    people = draw(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 6)), min_size=2, max_size=40))
    made = []
    for n, (corpus, speaker) in enumerate(people):
        sex = draw(st.sampled_from([None, "female", "male"]))
        made.append(
            Utterance(
                f"{corpus}/{n}",
                f"{n}.wav",
                corpus,
                f"p{speaker}",
                draw(st.sampled_from(["sad", "calm"])),
                "x",
                sex=sex,
            )
        )
    return Manifest(Path(), tuple(made))


@given(_manifests(), st.integers(0, 3), st.integers(2, 3))
@settings(max_examples=60, deadline=None)
def test_any_manifest_is_split_or_refused(manifest: Manifest, seed: int, k: int) -> None:
    for make in (
        lambda: loso(manifest, seed=seed),
        lambda: speaker_kfold(manifest, k, seed),
        lambda: (random_split(manifest, seed=seed),),
        lambda: (cross_corpus(manifest, "a", seed=seed),),
    ):
        try:
            splits = make()
        except ProtocolError:
            continue
        for split in splits:
            _sound(manifest, split)


@pytest.mark.corpora
def test_real_ravdess_splits() -> None:
    folder = os.environ.get("EMOVOX_CORPORA")
    if not folder:
        pytest.skip("EMOVOX_CORPORA is unset")
    whole = Manifest.merged(
        scan(name, folder)[0] for name in ("ravdess", "ravdess_song", "tess", "emodb", "nemo", "banglaser")
    )
    assert len(whole) == 1440 + 1012 + 2800 + 535 + 4481 + 1466
    for fold in range(1, 7):
        split = emobox_split(whole, fold, corpus="ravdess")
        _sound(whole, split)
        assert len(split.test) == 240
        assert len(split.left_out) == 44 * (3 if "ravdess-18" in _speakers(whole, split.test) else 4)
