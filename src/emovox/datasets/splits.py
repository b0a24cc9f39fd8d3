"""Divide clips into training, validation and test parts.

Rules that every strategy keeps:

- Validation is drawn from the training part, and its speakers are not trained on. They are drawn per corpus,
  deterministically, alternating between the sexes. None is drawn from a corpus with fewer than three training
  speakers, unless all are that small; with fewer than three training speakers in total, clips are drawn.
- The same person has the same speaker id in every corpus. Clips of other corpora spoken by a test speaker are
  in ``left_out``, in none of the parts.
- The order of the manifest's rows does not change a split, and ``Split.digest`` identifies its content.

The stamp is derived from the manifest: ``speaker-dependent`` when training or validation shares a speaker
with the test, ``text-shared`` when it shares a known sentence, ``strict`` when neither. An audit that
compares the sound (`emovox.datasets.overlap`) may lower it to ``contaminated``.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from emovox.datasets.corpora import CORPORA
from emovox.datasets.manifest import Manifest, Utterance
from emovox.errors import ProtocolError

__all__ = [
    "COPY_OF",
    "PARTS",
    "STAMPS",
    "VALIDATION_SHARE",
    "Split",
    "cross_corpus",
    "default_protocol",
    "doubt_speakers",
    "draw_validation",
    "given",
    "held_out",
    "loso",
    "part_of",
    "random_split",
    "recording_of",
    "short_speakers",
    "shrink_training",
    "speaker_kfold",
    "split_by_parts",
    "stamp_of",
]

STAMPS: tuple[str, ...] = ("strict", "unverified", "text-shared", "speaker-dependent", "contaminated")
"""From the best to the worst. ``unverified``: other corpora by name, but no recordings were compared."""

COPY_OF = "copy_of"
"""Key in an utterance's ``extra``: the id of the recording that it was made from by augmentation."""

VALIDATION_SHARE = 0.2
"""Share of the training speakers that validate."""

PARTS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "devel", "development", "devset"), "validation"),
    **dict.fromkeys(("test", "testing", "testset", "eval", "evaluation", "evalset"), "test"),
}
"""Names of the parts of a split in folders and files -> part."""


def part_of(text: str) -> str | None:
    """``train``, ``validation`` or ``test`` when ``text`` is a name of it, in any case, with other words.

    >>> part_of("Train-custom"), part_of("my_dev"), part_of("angry")
    ('train', 'validation', None)
    """
    words = re.split(r"[^a-z]+", text.strip().lower())
    parts = {PARTS[word] for word in words if word in PARTS}
    return parts.pop() if len(parts) == 1 else None


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
            raise ProtocolError(f"split {self.name!r} has an utterance in two parts; parts must be disjoint")
        if not self.train or not self.test:
            raise ProtocolError(
                f"split {self.name!r} has {len(self.train)} training and {len(self.test)} test clips; "
                "both parts need some: is the corpus complete?"
            )

    @property
    def digest(self) -> str:
        """16 hex digits that identify the content of the parts, whatever the order or the split's name."""
        text = "\n\n".join("\n".join(sorted(part)) for part in (self.train, self.validation, self.test))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def stamp_of(manifest: Manifest, train: Iterable[str], test: Iterable[str]) -> str:
    """What the two sides have in common according to the manifest, as one of ``STAMPS``."""
    left, right = [manifest[key] for key in train], [manifest[key] for key in test]
    if {recording_of(u) for u in left} & {recording_of(u) for u in right}:
        return "contaminated"
    if {u.speaker for u in left} & {u.speaker for u in right} or doubt_speakers(left, right):
        return "speaker-dependent"
    if {u.text for u in left if u.text} & {u.text for u in right if u.text}:
        return "text-shared"
    return "strict"


def doubt_speakers(train: Iterable[Utterance], test: Iterable[Utterance]) -> str | None:
    """Why the names of speakers do not show that the two sides have different speakers; ``None``: they do.

    In a corpus of one's own that is on both sides, a name that is a folder of one emotion, or different in
    every clip, is probably no speaker. The adapters of published corpora are trusted.
    """
    train, test = list(train), list(test)
    both = {u.corpus for u in train} & {u.corpus for u in test} - CORPORA.keys()
    for corpus in sorted(both):
        clips = [u for u in (*train, *test) if u.corpus == corpus and u.known_speaker is not None]
        counts = Counter(u.speaker for u in clips)
        labels: dict[str, set[str]] = defaultdict(set)
        for u in clips:
            labels[u.speaker].add(u.emotion)
        n_labels = len(set().union(*labels.values()))
        if len(counts) > max(3, 0.8 * len(clips)):
            why = f"the {len(clips)} clips of {corpus} have {len(counts)} speakers, nearly one each"
        elif n_labels > 1 and len(counts) > 1 and all(len(names) == 1 for names in labels.values()):
            why = f"each of the {len(counts)} speakers of {corpus} has clips of one label alone"
        else:
            continue
        listed = ", ".join(f"{name} {n}" for name, n in counts.most_common(8))
        rest = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
        return f"{why}, so the names may not be those of people: {listed}{rest}"
    return None


def short_speakers(manifest: Manifest) -> dict[str, str]:
    """Names of speakers without the prefix of their corpus -> ids, where they are unambiguous."""
    found: dict[str, set[str]] = defaultdict(set)
    for u in manifest:
        found[u.speaker.removeprefix(f"{u.corpus}-")].add(u.speaker)
    return {name: ids.pop() for name, ids in found.items() if len(ids) == 1}


def recording_of(utterance: Utterance) -> str:
    """The id of the original recording: the utterance's own, or that of the clip it was augmented from."""
    return utterance.extra.get(COPY_OF, utterance.id)


def default_protocol(manifest: Manifest, *, warn: Callable[[str], None] | None = None) -> str:
    """Return the protocol when none is named: the data's own parts, else a fifth of the speakers is tested.

    Where fewer than two speakers are known, a quarter of the clips is tested at random; the stamp shows it.

    Args:
        warn: called with a line when clips are drawn at random.
    """
    parts = {u.extra.get("part", "") for u in manifest} - {""}
    if "test" in parts and len(parts) > 1:
        return "given"
    n_speakers = len(manifest.speakers)
    if n_speakers > 1:
        return f"speaker-kfold/{min(5, n_speakers)}/0/1"
    if warn is not None:
        found = (
            f"the data have the part {', '.join(sorted(parts))} alone"
            if parts
            else ("the data have no folders or column of parts (train and test)")
        )
        warn(
            f"warning: {found}, and no two speakers are known: a quarter of the clips is tested at random, "
            "with the same speakers on both sides; name the parts, the speakers, or a protocol"
        )
    return "random"


# ---------------------------------------------------------------------------------------- strategies


def loso(
    manifest: Manifest, *, validation_share: float = VALIDATION_SHARE, seed: int = 0
) -> tuple[Split, ...]:
    """Leave one speaker out: a split for each speaker of the manifest, in the order of their ids.

    Raises:
        ProtocolError: there are fewer than two speakers.
    """
    _check_speakers(manifest, 2)
    return tuple(
        _split_by_speakers(manifest, f"loso/{speaker}", {speaker}, validation_share, seed)
        for speaker in manifest.speakers
    )


def speaker_kfold(
    manifest: Manifest, k: int, seed: int = 0, *, validation_share: float = VALIDATION_SHARE
) -> tuple[Split, ...]:
    """``k`` groups of speakers, each tested once; corpora and sexes are distributed evenly.

    Raises:
        ProtocolError: ``k`` is below 2 or above the number of speakers.
    """
    if k < 2:
        raise ProtocolError(f"k is {k!r}; expected 2 or more folds")
    _check_speakers(manifest, k)
    queue = [
        speaker
        for group in _speakers_by_corpus(manifest.utterances)
        for speaker in _shuffle_speakers(group, manifest.utterances, seed)
    ]
    return tuple(
        _split_by_speakers(
            manifest, f"speaker-kfold/{k}/{seed}/{n + 1}", set(queue[n::k]), validation_share, seed
        )
        for n in range(k)
    )


def held_out(
    manifest: Manifest, speakers: Iterable[str], *, validation_share: float = VALIDATION_SHARE, seed: int = 0
) -> Split:
    """Test the named speakers, train on all others.

    Raises:
        ProtocolError: one of them is not in the manifest.
    """
    short = short_speakers(manifest)
    tested = sorted({name if name in manifest.speakers else short.get(name, name) for name in speakers})
    if strange := [name for name in tested if name not in manifest.speakers]:
        raise ProtocolError(
            f"no speaker {strange[0]!r} to test on; there are {', '.join(manifest.speakers[:8])} ..."
        )
    return _split_by_speakers(manifest, f"speakers/{','.join(tested)}", set(tested), validation_share, seed)


def cross_corpus(
    manifests: Manifest | Sequence[Manifest],
    test_corpus: str,
    *,
    validation_share: float = VALIDATION_SHARE,
    seed: int = 0,
) -> Split:
    """Leave one corpus out: test all of ``test_corpus``, train on all others without its speakers.

    Raises:
        ProtocolError: ``test_corpus`` is not there, or it is the only one.
    """
    whole = manifests if isinstance(manifests, Manifest) else Manifest.merged(manifests)
    if test_corpus not in whole.corpora:
        raise ProtocolError(
            f"no corpus {test_corpus!r} to test on; there are {', '.join(whole.corpora) or 'none'}"
        )
    test = [u for u in whole if u.corpus == test_corpus]
    others = [u for u in whole if u.corpus != test_corpus]
    tested = {u.speaker for u in test}
    return draw_validation(
        whole,
        f"cross-corpus/{test_corpus}",
        [u for u in others if u.speaker not in tested],
        test,
        left_out=[u for u in others if u.speaker in tested],
        validation_share=validation_share,
        seed=seed,
    )


def random_split(
    manifest: Manifest, *, test_share: float = 0.25, seed: int = 0, validation_share: float = VALIDATION_SHARE
) -> Split:
    """Draw a test part by clip, the same share of every emotion.

    Speakers are on both sides: use it only for comparison with literature that does the same.

    Raises:
        ProtocolError: ``test_share`` is not between 0 and 1.
    """
    _check_share("test_share", test_share)
    test = _draw_clips(manifest.utterances, test_share, seed)
    keys = {u.id for u in test}
    return draw_validation(
        manifest,
        f"random/{test_share:g}/{seed}",
        [u for u in manifest if u.id not in keys],
        test,
        validation_share=validation_share,
        seed=seed,
    )


def given(manifest: Manifest, *, validation_share: float = VALIDATION_SHARE, seed: int = 0) -> Split:
    """The corpus's own division: ``extra["part"]`` of each utterance, such as ``train`` and ``test``.

    Clips without a part are left out. See `split_by_parts`.

    Raises:
        ProtocolError: no clip has a part, or one has a part that is not in ``PARTS``.
    """
    parts = {u.id: u.extra["part"] for u in manifest if u.extra.get("part")}
    if not parts:
        raise ProtocolError(
            'no clip has a part (extra["part"]); the corpus has no train and test folders of its own: '
            "choose another protocol"
        )
    return split_by_parts(manifest, "given", parts, validation_share=validation_share, seed=seed)


def split_by_parts(
    manifest: Manifest,
    name: str,
    parts: Mapping[str, str],
    *,
    validation_share: float = VALIDATION_SHARE,
    seed: int = 0,
) -> Split:
    """A division made elsewhere: id -> part (any spelling in ``PARTS``).

    Clips without a part are left out. A validation part is taken as it is, even if its speakers are trained
    on; where there is none, it is drawn from the training part by the common rule.

    Raises:
        ProtocolError: an unknown part, or nothing to train on or to test.
    """
    place = {key: part_of(part) for key, part in parts.items()}
    if strange := [parts[key] for key, part in place.items() if part is None]:
        raise ProtocolError(f"{name}: the part {strange[0]!r} is none of {', '.join(PARTS)}")
    groups: dict[str | None, list[Utterance]] = defaultdict(list)
    for u in manifest:
        groups[place.get(u.id)].append(u)
    train, validation, test, rest = (groups[part] for part in ("train", "validation", "test", None))
    if not validation and train and test:
        return draw_validation(
            manifest, name, train, test, left_out=rest, validation_share=validation_share, seed=seed
        )
    near = [u.id for u in (*train, *validation)]
    return Split(
        name=name,
        train=_ids(train),
        validation=_ids(validation),
        test=_ids(test),
        stamp=stamp_of(manifest, near, (u.id for u in test)),
        left_out=_ids(rest),
    )


def draw_validation(
    manifest: Manifest,
    name: str,
    pool: Sequence[Utterance],
    test: Sequence[Utterance],
    *,
    left_out: Sequence[Utterance] = (),
    validation_share: float = VALIDATION_SHARE,
    seed: int = 0,
) -> Split:
    """The split whose validation part is drawn from ``pool`` by the common rule, with its stamp.

    Raises:
        ProtocolError: ``validation_share`` is not between 0 and 1, or a part would be empty.
    """
    _check_share("validation_share", validation_share)
    speakers = _draw_speakers(pool, validation_share, seed)
    held = [u for u in pool if u.speaker in speakers]
    held = held or (_draw_clips(pool, validation_share, seed) if len(pool) > 1 else [])
    keys = {u.id for u in held}
    return Split(
        name=name,
        train=_ids(u for u in pool if u.id not in keys),
        validation=_ids(held),
        test=_ids(test),
        stamp=stamp_of(manifest, (u.id for u in pool), (u.id for u in test)),
        left_out=_ids(left_out),
    )


def _split_by_speakers(
    manifest: Manifest, name: str, tested: set[str], validation_share: float, seed: int
) -> Split:
    pool = [u for u in manifest if u.speaker not in tested]
    test = [u for u in manifest if u.speaker in tested]
    return draw_validation(manifest, name, pool, test, validation_share=validation_share, seed=seed)


def _check_speakers(manifest: Manifest, n: int) -> None:
    if len(manifest.speakers) < n:
        raise ProtocolError(
            f"{n} groups need at least {n} speakers; the manifest has {len(manifest.speakers)}"
        )


def _check_share(name: str, share: float) -> None:
    if not 0.0 < share < 1.0:
        raise ProtocolError(f"{name} is {share!r}; expected a share between 0 and 1, such as 0.2")


def _ids(utterances: Iterable[Utterance]) -> tuple[str, ...]:
    return tuple(sorted(u.id for u in utterances))


def shrink_training(manifest: Manifest, split: Split, share: float, seed: int = 0) -> Split:
    """Keep a share of the training clips of every emotion, one at least; the rest is left out.

    Smaller shares are parts of larger ones. Validation and test stay as they are.

    Raises:
        ProtocolError: ``share`` is not above 0 and at most 1.
    """
    if not 0.0 < share <= 1.0:
        raise ProtocolError(f"the share of the training clips is {share!r}; expected above 0 and at most 1")
    groups: dict[str, list[str]] = defaultdict(list)
    for key in sorted(split.train, key=lambda k: hashlib.sha256(f"{seed}:{k}".encode()).digest()):
        groups[manifest[key].emotion].append(key)
    kept = {key for keys in groups.values() for key in keys[: max(1, round(share * len(keys)))]}
    rest = [key for key in split.train if key not in kept]
    return replace(split, train=tuple(sorted(kept)), left_out=tuple(sorted([*split.left_out, *rest])))


# ------------------------------------------------------------------------------------------- drawing


def _draw_speakers(pool: Sequence[Utterance], share: float, seed: int) -> set[str]:
    """About ``share`` of the speakers of each corpus that has at least three."""
    groups = _speakers_by_corpus(pool)
    if all(len(speakers) < 3 for speakers in groups):
        groups = [[speaker for speakers in groups for speaker in speakers]]
    drawn: set[str] = set()
    for speakers in groups:
        if len(speakers) >= 3:
            n = min(max(1, round(share * len(speakers))), len(speakers) - 1)
            drawn.update(_shuffle_speakers(speakers, pool, seed)[:n])
    return drawn


def _speakers_by_corpus(utterances: Iterable[Utterance]) -> list[list[str]]:
    """Sorted speakers of each corpus, corpora by name; a speaker of several counts in the first alone."""
    home: dict[str, str] = {}
    for u in utterances:
        home[u.speaker] = min(home.get(u.speaker, u.corpus), u.corpus)
    groups: dict[str, list[str]] = defaultdict(list)
    for speaker, corpus in sorted(home.items()):
        groups[corpus].append(speaker)
    return [speakers for _, speakers in sorted(groups.items())]


def _shuffle_speakers(speakers: Sequence[str], utterances: Iterable[Utterance], seed: int) -> list[str]:
    """The speakers in a pseudo-random order that alternates between the sexes."""
    sex = {u.speaker: u.sex or "" for u in sorted(utterances, key=lambda u: (u.speaker, u.sex or ""))}
    # A hash of seed and name, unlike a generator, gives a speaker the same place with any other speakers.
    order = sorted(
        speakers, key=lambda s: hashlib.sha256(f"{seed}:{s}".encode("utf-8", "surrogateescape")).digest()
    )
    n_before: dict[str, int] = defaultdict(int)
    places = []
    for place, speaker in enumerate(order):
        places.append((n_before[sex[speaker]], place, speaker))
        n_before[sex[speaker]] += 1
    return [speaker for _, _, speaker in sorted(places)]


def _draw_clips(utterances: Iterable[Utterance], share: float, seed: int) -> list[Utterance]:
    """A random share of each emotion's clips; fractions are carried over to the next emotion."""
    groups: dict[str, list[Utterance]] = defaultdict(list)
    for u in sorted(utterances, key=lambda u: u.id):
        groups[u.emotion].append(u)
    generator = random.Random(seed)
    drawn: list[Utterance] = []
    quota = 0.0
    for _, group in sorted(groups.items()):
        quota += share * len(group)
        n = min(len(group), max(0, round(quota) - len(drawn)))
        drawn.extend(generator.sample(group, n))
    return drawn
