"""Who may be tested on whom.

Every protocol gives ``Split``\\ s: ids for training, validation and test. Rules that all of them keep:

- Validation comes out of the training part, and its speakers are not trained on. They are drawn per corpus,
  deterministically, sexes in turn. Of a corpus with fewer than three training speakers none is drawn, unless
  all are that small; with fewer than three training speakers in all, clips are drawn at random.
- The same person has the same speaker id in every corpus. Clips of other corpora spoken by a test speaker are
  in ``left_out``, in none of the parts.
- The order of the manifest's rows does not change a split, and ``Split.digest`` names its content.

The stamp is read off the manifest: ``speaker-dependent`` when training or validation shares a speaker with
test, ``text-shared`` when it shares a known sentence, ``strict`` when neither. The audit, which listens, may
lower it to ``contaminated``.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from emovox.datasets.drawing import drawn_clips, homes, in_turn, validation_speakers
from emovox.datasets.emobox import EMOBOX, rows
from emovox.datasets.manifest import Manifest, Utterance
from emovox.errors import ProtocolError

__all__ = [
    "COPY_OF",
    "PARTS",
    "STAMPS",
    "VALIDATION_SHARE",
    "Split",
    "by_parts",
    "cross_corpus",
    "emobox",
    "emobox_folds",
    "given",
    "held_out",
    "loso",
    "random_split",
    "recording_of",
    "speaker_kfold",
    "stamp_of",
]

STAMPS: tuple[str, ...] = ("strict", "text-shared", "speaker-dependent", "contaminated")
"""From the best to the worst."""

COPY_OF = "copy_of"
"""In an utterance's ``extra``: the id of the recording that it is a changed copy of."""

VALIDATION_SHARE = 0.2
"""Share of the training speakers that validate."""

PARTS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "devel", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""What the parts of a split are called in folders and files -> part."""


@dataclass(frozen=True, slots=True)
class Split:
    """Ids of utterances, sorted within each part; no id is in two parts."""

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    stamp: str
    """One of ``STAMPS``: what the test may have in common with the training."""
    left_out: tuple[str, ...] = ()
    """Ids that may be in no part, such as the songs of the test actors."""

    def __post_init__(self) -> None:
        if self.stamp not in STAMPS:
            raise ProtocolError(
                f"split {self.name!r}: the stamp is {self.stamp!r}; expected one of {', '.join(STAMPS)}"
            )
        parts = (*self.train, *self.validation, *self.test, *self.left_out)
        if len(set(parts)) != len(parts):
            raise ProtocolError(f"split {self.name!r} has an utterance in two parts; parts must be apart")
        if not self.train or not self.test:
            raise ProtocolError(
                f"split {self.name!r} has {len(self.train)} training and {len(self.test)} test clips; "
                "both must have some: is the corpus whole?"
            )

    @property
    def digest(self) -> str:
        """16 hex digits that name the content of the parts, whatever the order or the split's name."""
        text = "\n\n".join("\n".join(sorted(part)) for part in (self.train, self.validation, self.test))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def stamp_of(manifest: Manifest, train: Iterable[str], test: Iterable[str]) -> str:
    """What the two sides have in common, by the manifest's own word."""
    left, right = [manifest[key] for key in train], [manifest[key] for key in test]
    if {recording_of(u) for u in left} & {recording_of(u) for u in right}:
        return "contaminated"
    if {u.speaker for u in left} & {u.speaker for u in right}:
        return "speaker-dependent"
    if {u.text for u in left if u.text} & {u.text for u in right if u.text}:
        return "text-shared"
    return "strict"


def recording_of(utterance: Utterance) -> str:
    """The id of the recording: its own, or that of what it is a changed copy of."""
    return utterance.extra.get(COPY_OF, utterance.id)


def emobox_folds(corpus: str) -> tuple[int, ...]:
    """Numbers of EmoBox's test folds for ``corpus``.

    Raises:
        ProtocolError: EmoBox's folds of this corpus are not carried.
    """
    if corpus not in EMOBOX:
        raise ProtocolError(f"there are no EmoBox folds for {corpus!r}; there are for {', '.join(EMOBOX)}")
    return tuple(range(1, EMOBOX[corpus] + 1))


def emobox(
    manifest: Manifest,
    fold: int,
    *,
    corpus: str | None = None,
    allow_missing: bool = False,
    validation_share: float = VALIDATION_SHARE,
    seed: int = 0,
) -> Split:
    """EmoBox's published fold: test = that fold of ``corpus``, training = everything else in the manifest.

    Clips of other corpora join the training, but those of speakers who are tested are left out, and so
    are clips of ``corpus`` that EmoBox does not list.

    Args:
        corpus: which of the manifest's corpora is tested; may be omitted if only one has EmoBox folds.
        allow_missing: accept a manifest that lacks some of EmoBox's clips.

    Raises:
        ProtocolError: no such corpus or fold, or clips are missing.
    """
    name = _tested_corpus(manifest, corpus)
    if fold not in emobox_folds(name):
        raise ProtocolError(f"{name} has the EmoBox folds {emobox_folds(name)}; got {fold!r}")
    folds = {f"{name}/{row.key}": row.fold for row in rows(name)}
    missing = [key for key in folds if key not in manifest.by_id]
    if missing and not allow_missing:
        raise ProtocolError(
            f"{len(missing)} of EmoBox's {len(folds)} clips of {name} are not in the manifest, the first is "
            f"{missing[0]!r}; complete the corpus, or allow it (--allow missing, allow_missing=True)"
        )
    test = [u for u in manifest if folds.get(u.id) == fold]
    own = [u for u in manifest if u.id in folds and folds[u.id] != fold]
    people = {u.speaker for u in test}
    others = [u for u in manifest if u.corpus != name]
    return _split(
        manifest,
        f"emobox/{name}/{fold}",
        [*own, *(u for u in others if u.speaker not in people)],
        test,
        left_out=[
            *(u for u in others if u.speaker in people),
            *(u for u in manifest if u.corpus == name and u.id not in folds),
        ],
        validation_share=validation_share,
        seed=seed,
    )


def loso(
    manifest: Manifest, *, validation_share: float = VALIDATION_SHARE, seed: int = 0
) -> tuple[Split, ...]:
    """Leave one speaker out: a split for each speaker of the manifest, in the order of their ids."""
    _need_speakers(manifest, 2)
    return tuple(
        _by_speakers(manifest, f"loso/{speaker}", {speaker}, validation_share, seed)
        for speaker in manifest.speakers
    )


def speaker_kfold(
    manifest: Manifest, k: int, seed: int = 0, *, validation_share: float = VALIDATION_SHARE
) -> tuple[Split, ...]:
    """``k`` groups of speakers, each tested once; corpora and sexes are dealt out evenly.

    Raises:
        ProtocolError: ``k`` is below 2 or above the number of speakers.
    """
    if k < 2:
        raise ProtocolError(f"k is {k!r}; expected 2 or more folds")
    _need_speakers(manifest, k)
    queue = [
        s for group in homes(manifest.utterances).values() for s in in_turn(group, manifest.utterances, seed)
    ]
    return tuple(
        _by_speakers(manifest, f"speaker-kfold/{k}/{seed}/{n + 1}", set(queue[n::k]), validation_share, seed)
        for n in range(k)
    )


def random_split(
    manifest: Manifest,
    *,
    test_share: float = 0.25,
    seed: int = 0,
    validation_share: float = VALIDATION_SHARE,
) -> Split:
    """A random test part by clip, the same share of every emotion. Speakers are on both sides: only for
    comparison with literature that does the same.

    Raises:
        ProtocolError: ``test_share`` is not between 0 and 1.
    """
    _check_share("test_share", test_share)
    test = drawn_clips(manifest.utterances, test_share, seed)
    keys = {u.id for u in test}
    return _split(
        manifest,
        f"random/{test_share:g}/{seed}",
        [u for u in manifest if u.id not in keys],
        test,
        validation_share=validation_share,
        seed=seed,
    )


def cross_corpus(
    manifests: Manifest | Sequence[Manifest],
    test_corpus: str,
    *,
    validation_share: float = VALIDATION_SHARE,
    seed: int = 0,
) -> Split:
    """Leave one corpus out: test = all of ``test_corpus``, training = all others without its speakers.

    Raises:
        ProtocolError: ``test_corpus`` is not there, or it is alone.
    """
    whole = manifests if isinstance(manifests, Manifest) else Manifest.merged(manifests)
    if test_corpus not in whole.corpora:
        raise ProtocolError(
            f"no corpus {test_corpus!r} to test on; there are {', '.join(whole.corpora) or 'none'}"
        )
    test = [u for u in whole if u.corpus == test_corpus]
    people = {u.speaker for u in test}
    return _split(
        whole,
        f"cross-corpus/{test_corpus}",
        [u for u in whole if u.corpus != test_corpus and u.speaker not in people],
        test,
        left_out=[u for u in whole if u.corpus != test_corpus and u.speaker in people],
        validation_share=validation_share,
        seed=seed,
    )


def given(manifest: Manifest, *, validation_share: float = VALIDATION_SHARE, seed: int = 0) -> Split:
    """The corpus's own division: ``extra["part"]`` of each utterance, such as ``train`` and ``test``.

    Clips that name no part are left out. See `by_parts`.

    Raises:
        ProtocolError: no clip names its part, or one names a part unknown in ``PARTS``.
    """
    parts = {u.id: u.extra["part"] for u in manifest if u.extra.get("part")}
    if not parts:
        raise ProtocolError(
            'no clip says which part it belongs to (extra["part"]); the corpus has no train and test '
            "folders of its own: choose another protocol"
        )
    return by_parts(manifest, "given", parts, validation_share=validation_share, seed=seed)


def held_out(
    manifest: Manifest,
    speakers: Iterable[str],
    *,
    validation_share: float = VALIDATION_SHARE,
    seed: int = 0,
) -> Split:
    """The named speakers are tested, all others train.

    Raises:
        ProtocolError: one of them does not speak here.
    """
    tested = sorted(set(speakers))
    if strange := [name for name in tested if name not in manifest.speakers]:
        raise ProtocolError(
            f"no speaker {strange[0]!r} to test on; there are {', '.join(manifest.speakers[:8])} ..."
        )
    return _by_speakers(manifest, f"speakers/{','.join(tested)}", set(tested), validation_share, seed)


def by_parts(
    manifest: Manifest,
    name: str,
    parts: Mapping[str, str],
    *,
    validation_share: float = VALIDATION_SHARE,
    seed: int = 0,
) -> Split:
    """A split that somebody else made: id -> part (any spelling in ``PARTS``).

    Clips without a part are left out. A validation part is taken as it is, even if its speakers are trained
    on; where there is none, it is drawn out of the training part by the common rule.

    Raises:
        ProtocolError: an unknown part, or nothing to train on or to test.
    """
    place = {key: PARTS.get(part.strip().lower()) for key, part in parts.items()}
    if strange := [parts[key] for key, part in place.items() if part is None]:
        raise ProtocolError(f"{name}: the part {strange[0]!r} is none of {', '.join(PARTS)}")
    groups: dict[str | None, list[Utterance]] = defaultdict(list)
    for u in manifest:
        groups[place.get(u.id)].append(u)
    train, validation, test = groups["train"], groups["validation"], groups["test"]
    if not validation and train and test:
        return _split(
            manifest,
            name,
            train,
            test,
            left_out=groups[None],
            validation_share=validation_share,
            seed=seed,
        )
    near = [u.id for u in (*train, *validation)]
    return Split(
        name=name,
        train=_ids(train),
        validation=_ids(validation),
        test=_ids(test),
        stamp=stamp_of(manifest, near, (u.id for u in test)),
        left_out=_ids(groups[None]),
    )


def _tested_corpus(manifest: Manifest, corpus: str | None) -> str:
    known = [name for name in manifest.corpora if name in EMOBOX]
    if corpus is not None and corpus in manifest.corpora:
        return corpus
    if corpus is not None or len(known) != 1:
        raise ProtocolError(
            f"corpus is {corpus!r}, and the manifest holds {', '.join(manifest.corpora) or 'nothing'}; "
            f"name one of those with EmoBox folds: {', '.join(known) or 'none'}"
        )
    return known[0]


def _need_speakers(manifest: Manifest, n: int) -> None:
    if len(manifest.speakers) < n:
        raise ProtocolError(
            f"{n} groups need at least {n} speakers; the manifest has {len(manifest.speakers)}"
        )


def _check_share(name: str, share: float) -> None:
    if not 0.0 < share < 1.0:
        raise ProtocolError(f"{name} is {share!r}; expected a share between 0 and 1, such as 0.2")


def _by_speakers(manifest: Manifest, name: str, tested: set[str], share: float, seed: int) -> Split:
    train = [u for u in manifest if u.speaker not in tested]
    test = [u for u in manifest if u.speaker in tested]
    return _split(manifest, name, train, test, validation_share=share, seed=seed)


def _split(
    manifest: Manifest,
    name: str,
    pool: Sequence[Utterance],
    test: Sequence[Utterance],
    *,
    left_out: Sequence[Utterance] = (),
    validation_share: float,
    seed: int,
) -> Split:
    """Draw the validation out of ``pool`` and stamp the result."""
    _check_share("validation_share", validation_share)
    speakers = validation_speakers(pool, validation_share, seed)
    held = [u for u in pool if u.speaker in speakers]
    held = held or (drawn_clips(pool, validation_share, seed) if len(pool) > 1 else [])
    keys = {u.id for u in held}
    return Split(
        name=name,
        train=_ids(u for u in pool if u.id not in keys),
        validation=_ids(held),
        test=_ids(test),
        stamp=stamp_of(manifest, (u.id for u in pool), (u.id for u in test)),
        left_out=_ids(left_out),
    )


def _ids(utterances: Iterable[Utterance]) -> tuple[str, ...]:
    return tuple(sorted(u.id for u in utterances))
