"""Names of expressed emotions, their aliases, and maps from one label set to another.

Canonical names are lower-case English adjectives in a fixed order. Emotions that only one corpus
has (amused, sleepy, ...) keep their own name.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from emovox.errors import LabelError, nearest

__all__ = [
    "ALIASES",
    "EMOTIONS",
    "EXTRAS",
    "LABEL_MAPS",
    "LabelMap",
    "MapReport",
    "canonical",
    "canonical_all",
    "is_known",
    "is_label",
    "label_map",
    "normalize_label",
    "sort_labels",
]

EMOTIONS: tuple[str, ...] = (
    "neutral",
    "calm",
    "happy",
    "sad",
    "angry",
    "fear",
    "disgust",
    "surprise",
    "boredom",
)
"""The canonical label set, in its canonical order."""

EXTRAS: tuple[str, ...] = (
    "amused",
    "anxious",
    "apologetic",
    "assertive",
    "breath",
    "concerned",
    "disappointed",
    "encouraging",
    "excited",
    "pain",
    "pleasure",
    "sleepy",
    "unknown",
)
"""Emotions that single corpora add (EmoV-DB, JL corpus, ASVP-ESD); never folded silently."""

_ALIASES: dict[str, tuple[str, ...]] = {
    "neutral": ("neu", "neutrality", "normal"),
    "calm": ("calmness",),
    "happy": ("hap", "happiness", "happily", "joy", "joyful", "gioia"),
    "sad": ("sadness", "sadly", "tristezza", "unhappy"),
    "angry": ("anger", "ang", "angrily", "rage", "rabbia"),
    "fear": ("fearful", "fea", "afraid", "scared", "paura"),
    "disgust": ("disgusted", "dis", "disgusto"),
    "surprise": (
        "surprised",
        "sur",
        "ps",
        "pleasant surprise",
        "pleasant surprised",
        "pleasantly surprised",
        "sorpresa",
    ),
    "boredom": ("bored", "bor", "boring"),
    "amused": ("amusement",),
    "disappointed": ("disappointment",),
    "anxious": ("anxiety",),
    "excited": ("excitement",),
    "sleepy": ("sleepiness",),
    "pain": ("painful",),
    "pleasure": ("pleased",),
}

ALIASES: MappingProxyType[str, str] = MappingProxyType(
    {alias: name for name, aliases in _ALIASES.items() for alias in aliases}
    | {name: name for name in (*EMOTIONS, *EXTRAS)}
)
"""Every spelling that means the same in all corpora -> canonical name. Letter codes, which mean
different things in different corpora, are defined with their corpus."""


def canonical(name: str) -> str:
    """Return the canonical name of ``name``, whatever its case, spacing or grammatical form.

    Raises:
        LabelError: the name is unknown; the message names the nearest known one.

    >>> canonical("Fearful"), canonical("ps"), canonical("pleasant_surprise")
    ('fear', 'surprise', 'surprise')
    """
    key = " ".join(str(name).replace("_", " ").replace("-", " ").lower().split())
    if key in ALIASES:
        return ALIASES[key]
    near = nearest(key, ALIASES)
    hint = f"did you mean {ALIASES[near]!r}?" if near else f"there are {', '.join(EMOTIONS)}"
    raise LabelError(f"unknown emotion {name!r}; {hint}")


def is_known(label: str) -> bool:
    """Whether ``label`` is the canonical name of an emotion, not a label of somebody's own data."""
    return label in ALIASES and ALIASES[label] == label


def normalize_label(name: str) -> str:
    """Return the canonical name of a known emotion, any other label in one spelling.

    Raises:
        LabelError: the name is blank, or not on one line.

    >>> normalize_label("Anger"), normalize_label("Very-Frustrated")
    ('angry', 'very_frustrated')
    """
    text = unicodedata.normalize("NFC", str(name)).strip()
    key = " ".join(text.replace("_", " ").replace("-", " ").lower().split())
    if not key or not text.isprintable() or "," in key:
        raise LabelError(f"{name!r} cannot be a label; expected a word such as 'angry'")
    return ALIASES.get(key, key.replace(" ", "_"))


def is_label(text: object) -> bool:
    """Whether ``text`` is a label in the spelling that `normalize_label` gives it."""
    try:
        return isinstance(text, str) and normalize_label(text) == text
    except LabelError:
        return False


def sort_labels(names: Iterable[str]) -> tuple[str, ...]:
    """Labels in canonical order, others after them by the alphabet, without repeats."""
    found = set(names)
    known = (name for name in (*EMOTIONS, *EXTRAS) if name in found)
    return (*known, *sorted(name for name in found if not is_known(name)))


def canonical_all(names: Iterable[str], allowed: Sequence[str] | None = None) -> tuple[str, ...]:
    """Canonical names of ``names`` in order, without repeats.

    Args:
        allowed: the labels that there are, known emotions or not; any known emotion unless given.

    Raises:
        LabelError: a name is unknown, none was given, or one is not among ``allowed``.
    """
    if isinstance(names, str):
        names = names.split(",")
    own = set(allowed or ())
    wanted = tuple(
        dict.fromkeys(
            label if (label := normalize_label(name)) in own else canonical(name)
            for name in names
            if str(name).strip()
        )
    )
    if not wanted:
        raise LabelError("no label was given; expected at least one, such as 'angry'")
    for name in wanted if allowed is not None else ():
        if name not in (allowed or ()):
            raise LabelError(f"this model cannot answer {name!r}; it knows {', '.join(allowed or ())}")
    return wanted


@dataclass(frozen=True, slots=True)
class MapReport:
    """What a label map does to a set of clips, in counts."""

    kept: Mapping[str, int]
    """Clips of each new label."""
    merged: Mapping[str, tuple[str, ...]]
    """New label -> the old labels that were merged into it."""
    dropped: Mapping[str, int]
    """Clips of each old label that has no new label."""

    def lines(self) -> Iterable[str]:
        """The report in sentences: what was merged and what was dropped."""
        yield f"{sum(self.kept.values())} clips kept as {', '.join(self.kept) or 'nothing'}"
        yield from (f"merged into {new}: {', '.join(old)}" for new, old in self.merged.items())
        yield from (f"dropped: {old} ({n} clips)" for old, n in self.dropped.items())


@dataclass(frozen=True)
class LabelMap:
    """A map from one label set to another: old canonical name -> new one; other names are dropped.

    Raises:
        LabelError: a name is not canonical.
    """

    name: str
    pairs: Mapping[str, str]

    def __post_init__(self) -> None:
        for name in (*self.pairs, *self.pairs.values()):
            if normalize_label(name) != name:
                raise LabelError(f"label map {self.name!r} has {name!r}; write {normalize_label(name)!r}")
        object.__setattr__(self, "pairs", MappingProxyType(dict(self.pairs)))

    def __call__(self, label: str) -> str | None:
        """The new label, or ``None`` where the old one is dropped."""
        return self.pairs.get(normalize_label(label))

    @property
    def labels(self) -> tuple[str, ...]:
        """The new labels in canonical order."""
        return sort_labels(self.pairs.values())

    def but(self, **changes: str | None) -> LabelMap:
        """The same map with some old labels mapped differently, or dropped by ``None``.

        >>> label_map("7").but(calm=None)("calm") is None
        True
        """
        pairs = {**self.pairs, **changes}
        changed = ",".join(f"{old}={new}" for old, new in changes.items())
        return LabelMap(
            f"{self.name}({changed})", {old: new for old, new in pairs.items() if new is not None}
        )

    def then(self, other: LabelMap) -> LabelMap:
        """First this map, then ``other``."""
        both = {old: other(new) for old, new in self.pairs.items()}
        return LabelMap(
            f"{self.name}>{other.name}", {old: new for old, new in both.items() if new is not None}
        )

    def report(self, labels: Iterable[str]) -> MapReport:
        """Report what happens to these labels, one per clip."""
        kept: dict[str, int] = dict.fromkeys(self.labels, 0)
        sources: dict[str, set[str]] = {}
        dropped: dict[str, int] = {}
        for label in labels:
            old = normalize_label(label)
            new = self(old)
            if new is None:
                dropped[old] = dropped.get(old, 0) + 1
            else:
                kept[new] += 1
                sources.setdefault(new, set()).add(old)
        merged = {new: tuple(sorted(old)) for new, old in sources.items() if len(old) > 1}
        return MapReport({new: n for new, n in kept.items() if n}, merged, dropped)


def _identity(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_SEVEN = {
    **_identity("neutral", "happy", "sad", "angry", "fear", "disgust", "surprise"),
    "calm": "neutral",
    "excited": "happy",
    "amused": "happy",
    "anxious": "fear",
}
_SIX = {old: new for old, new in _SEVEN.items() if new != "surprise"}
_FOUR = {old: new for old, new in _SIX.items() if new in ("neutral", "happy", "sad", "angry")}

LABEL_MAPS: MappingProxyType[str, LabelMap] = MappingProxyType(
    {
        "9": LabelMap("9", _identity(*EMOTIONS)),
        "7": LabelMap("7", _SEVEN),
        "6": LabelMap("6", _SIX),
        "4": LabelMap("4", _FOUR),
    }
)
"""Common label sets: 9 = ours; 7 = neutral and the six basic emotions; 6 = CREMA-D's, no surprise;
4 = neutral, happy, sad, angry. In the last three calm counts as neutral, excited and amused as happy,
anxious as fear."""


def label_map(name: str | int) -> LabelMap:
    """The label map of that name.

    Raises:
        LabelError: there is none.
    """
    if str(name) not in LABEL_MAPS:
        raise LabelError(f"there is no label map {name!r}; there are {', '.join(LABEL_MAPS)}")
    return LABEL_MAPS[str(name)]
