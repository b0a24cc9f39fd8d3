"""What is known of a published corpus, and what do its file names say?

A ``Corpus`` is the description of one: facts about it, and a parser that reads ``Fields`` out of a file's
place and name. The parsers live one file a corpus beside this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emovox.datasets.manifest import Utterance

__all__ = ["Corpus", "Fields"]


@dataclass(frozen=True, slots=True)
class Fields:
    """What a corpus says about one of its files; ids are still the corpus's own."""

    key: str
    """Names the clip inside its corpus, whatever the extension or the mirror's layout."""
    speaker: str
    emotion: str
    original: str
    sex: str | None = None
    age: int | None = None
    language: str | None = None
    text: str | None = None
    intensity: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None
    """Set when the name departs from the official one but could still be read."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A published corpus: facts, and how its file names are read."""

    name: str
    title: str
    licence: str
    commercial: bool
    """May weights trained on it be used commercially?"""
    citation: str
    url: str
    access: str
    """How to get it, in words."""
    language: str
    """ISO 639-1 code, or ``mul`` for several."""
    n_clips: int
    n_speakers: int
    emotions: tuple[str, ...]
    parse: Callable[[str], Fields | None]
    """Reads a path relative to the corpus's root, with its extension; ``None`` = no clip of this corpus."""
    known_defects: tuple[str, ...] = ()
    people: str | None = None
    """The corpus whose speakers (and sentences) these are, if they are another's."""
    inner: str = r"(?!)"
    """Pattern of the folder names that lie inside the corpus, so that its root is above them."""
    keys: Callable[[], frozenset[str]] | None = None
    """Keys of every official clip, where a rule gives them."""
    complete: bool = True
    """Whether ``keys`` (or EmoBox's list) names all clips there are, so that others are strangers."""
    enrich: Callable[[Path, Sequence[Fields]], Sequence[Fields]] | None = None
    """Adds what tables beside the sound say (age, text, votes); gets the corpus's root."""

    @property
    def owner(self) -> str:
        """Prefix of speaker and text ids."""
        return self.people or self.name

    def utterance(self, path: str, found: Fields) -> Utterance:
        """The manifest's row for ``found`` at ``path``; ids become unique among all corpora."""
        return Utterance(
            id=f"{self.name}/{found.key}",
            path=path,
            corpus=self.name,
            speaker=f"{self.owner}-{found.speaker}",
            emotion=found.emotion,
            original=found.original,
            sex=found.sex,
            age=found.age,
            language=found.language or (None if self.language == "mul" else self.language),
            text=None if found.text is None else f"{self.owner}-{found.text}",
            intensity=found.intensity,
            extra=dict(found.extra),
        )
