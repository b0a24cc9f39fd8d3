"""Which expressed emotions exist, what each corpus calls them, and how to fold one label set into another.

Canonical names are lower-case English adjectives in a fixed order. Emotions that only one corpus
knows (amused, sleepy, ...) keep their own name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from types import MappingProxyType

from emovox.errors import LabelError

__all__ = ["ALIASES", "EMOTIONS", "EXTRAS", "canonical", "canonical_all"]

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
different things in different corpora, live with their corpus."""


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
    near = difflib.get_close_matches(key, ALIASES, n=1)
    hint = f"; did you mean {ALIASES[near[0]]!r}?" if near else f"; known: {', '.join(EMOTIONS)}"
    raise LabelError(f"unknown emotion {name!r}{hint}")


def canonical_all(names: Iterable[str], allowed: Sequence[str] | None = None) -> tuple[str, ...]:
    """Canonical names of ``names`` in order, without repeats.

    Raises:
        LabelError: a name is unknown, none was given, or one is not among ``allowed``.
    """
    if isinstance(names, str):
        names = names.split(",")
    wanted = tuple(dict.fromkeys(canonical(name) for name in names if str(name).strip()))
    if not wanted:
        raise LabelError("no label was given; expected at least one, such as 'angry'")
    for name in wanted if allowed is not None else ():
        if name not in (allowed or ()):
            raise LabelError(
                f"this model cannot answer {name!r}; it knows {', '.join(allowed or ())}"
            )
    return wanted
