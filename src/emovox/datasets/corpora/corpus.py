"""The description of a published corpus: facts, and how its file names are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from emovox.datasets.manifest import Utterance

__all__ = ["Corpus", "Fields"]

Groups = dict[str, str]


@dataclass(frozen=True, slots=True)
class Fields:
    """What a corpus says about one of its files; ids are still the corpus's own."""

    key: str
    """Identifies the clip in its corpus, whatever the suffix or the mirror's layout."""
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


_FIELD_GROUPS = {"key", "speaker", "emotion", "original", "sex", "language", "text", "intensity", "note"}


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A published corpus.

    A file's name without suffix must match ``pattern``. Its named groups are fields of `Fields`; any other
    group goes to ``extra``. ``resolve`` may add or change groups by the whole path.
    """

    name: str
    title: str
    licence: str
    commercial: bool
    """Whether weights trained on it may be used commercially."""
    citation: str
    url: str
    access: str
    """How to get it, in words."""
    language: str
    """ISO 639-1 code, or ``mul`` for several."""
    n_clips: int
    n_speakers: int
    pattern: str
    codes: Mapping[str, str]
    """The group ``emotion`` -> canonical name."""
    originals: Mapping[str, str] = field(default_factory=dict)
    """The group ``emotion`` -> the corpus's own name, where that is not the code itself."""
    speakers: Mapping[str, tuple[str | None, int | None]] = field(default_factory=dict)
    """Speaker -> sex and age; if given, others are not of this corpus."""
    intensities: Mapping[str, str] = field(default_factory=dict)
    """The group ``intensity`` -> its name."""
    resolve: Callable[[PurePosixPath, Groups], Groups | None] | None = None
    """Completes the groups by the path relative to the corpus's root; ``None`` = not of this corpus."""
    known_defects: tuple[str, ...] = ()
    people: str | None = None
    """The corpus whose speakers (and sentences) these are, if they are another's."""
    inner: str = r"(?!)"
    """Pattern of the names of folders inside the corpus, so that its root is above them."""
    keys: Callable[[], frozenset[str]] | None = None
    """Keys of every official clip, where a rule gives them."""
    complete: bool = True
    """Whether ``keys`` (or EmoBox's list) names all clips, so that others do not belong to the corpus."""
    enrich: Callable[[Path, Sequence[Fields]], Sequence[Fields]] | None = None
    """Adds the content of tables beside the sound (age, text, votes); gets the corpus's root."""

    @property
    def emotions(self) -> tuple[str, ...]:
        """Canonical names of its emotions."""
        return tuple(dict.fromkeys(self.codes.values()))

    @property
    def owner(self) -> str:
        """Prefix of speaker and text ids."""
        return self.people or self.name

    def parse(self, path: str) -> Fields | None:
        """Read a path relative to the corpus's root, with its suffix; ``None`` = no clip of this corpus."""
        place = PurePosixPath(path)
        match = re.fullmatch(self.pattern, place.stem, re.ASCII)
        if match is None:
            return None
        groups: Groups | None = {name: text for name, text in match.groupdict().items() if text is not None}
        if groups is not None and self.resolve is not None:
            groups = self.resolve(place, groups)
        if groups is None or groups["emotion"] not in self.codes:
            return None
        code, speaker = groups["emotion"], groups["speaker"]
        if self.speakers and speaker not in self.speakers:
            return None
        sex, age = self.speakers.get(speaker, (None, None))
        return Fields(
            key=groups.get("key", place.stem),
            speaker=speaker,
            emotion=self.codes[code],
            original=groups.get("original") or self.originals.get(code, code),
            sex=groups.get("sex", sex),
            age=age,
            language=groups.get("language"),
            text=groups.get("text"),
            intensity=self.intensities.get(groups.get("intensity", "")),
            extra={name: text for name, text in groups.items() if name not in _FIELD_GROUPS},
            note=groups.get("note"),
        )

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
