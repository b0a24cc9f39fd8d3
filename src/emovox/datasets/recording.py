"""Record a corpus of your own: a speaker, prompts, takes, and a manifest that is complete after each of them.

Nothing here interacts with a person or a device. A `RecordingSession` gives the next prompt and keeps or
refuses takes; a `SoundRecorder` gives sound: `emovox.audio.microphone.Recorder` is one, by the extra ``mic``.

Files are ``<speaker>/<speaker>_<sentence>_<emotion>_<take>.flac``, 16 kHz mono 16 bit. Each speaker's folder
holds ``speaker.json``: the facts about the speaker, and the text of the consent with its time.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile

from emovox._arrays import Floats
from emovox._files import atomic_path, write_text
from emovox.audio import SAMPLE_RATE, LevelMeter, Resampler, measure_quality
from emovox.datasets.manifest import SEXES, Manifest, Utterance
from emovox.errors import ManifestError
from emovox.labels import normalize_label
from emovox.results import Quality

__all__ = [
    "CONSENT",
    "MIN_S",
    "SENTENCES",
    "Prompt",
    "RecordingSession",
    "SoundRecorder",
    "SpeakerCard",
    "Take",
    "make_prompts",
    "read_prompts",
]

CONSENT = (
    "I agree that my voice is recorded, kept in this corpus under the code {speaker}, and used to study how "
    "emotion is expressed in speech. I take part freely, and may have my recordings deleted at any time."
)
"""Text of the consent, unless a project has its own."""

SENTENCES: tuple[str, ...] = (
    "The letter is lying on the kitchen table.",
    "They will be back on Wednesday evening.",
    "Seven people were waiting at the station.",
    "I put the blue cup next to the window.",
    "Tomorrow the shop opens an hour later.",
)
"""Sentences that suit any emotion and are in no published corpus."""

MIN_S = 0.5
"""Takes shorter than this are not usable, in seconds."""

_ID = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A sentence and the emotion to say it with."""

    sentence: str
    """Id of the sentence, such as ``s03``."""
    text: str
    emotion: str


@dataclass(frozen=True, slots=True)
class SpeakerCard:
    """Facts about a speaker; nothing that names the person.

    Raises:
        ManifestError: an impossible code, sex or age.
    """

    code: str
    """Letters, digits and single hyphens."""
    sex: str | None = None
    age: int | None = None
    language: str | None = None
    """ISO 639-1 code."""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.code):
            raise ManifestError(
                f"the speaker's code is {self.code!r}; expected letters, digits and hyphens, "
                "such as p01 (no name)"
            )
        if self.sex is not None and self.sex not in SEXES:
            raise ManifestError(f"the sex is {self.sex!r}; expected one of {', '.join(SEXES)}, or nothing")
        if self.age is not None and not 0 <= self.age <= 120:
            raise ManifestError(f"the age is {self.age}; expected years from 0 to 120, or nothing")


@dataclass(frozen=True, slots=True)
class Take:
    """One recording, not yet kept."""

    prompt: Prompt
    sound: Floats
    """``(n,)`` at 16 kHz."""
    quality: Quality

    @property
    def usable(self) -> bool:
        """Whether it has speech, at a level without clipping."""
        return not self.quality.warnings


class SoundRecorder(Protocol):
    """A source of sound between ``start`` and ``stop``."""

    sample_rate: int

    def start(self) -> None:
        """Start recording."""

    def stop(self) -> Floats:
        """Stop, and return what was recorded: ``(n,)`` in [-1, 1]."""


def make_prompts(emotions: Sequence[str], sentences: Sequence[str] = SENTENCES) -> tuple[Prompt, ...]:
    """Make a prompt of every sentence in every emotion, emotion by emotion.

    Raises:
        LabelError: an emotion is no label.
    """
    return tuple(
        Prompt(f"s{n:02}", text, emotion)
        for emotion in dict.fromkeys(normalize_label(name) for name in emotions)
        for n, text in enumerate(sentences, 1)
    )


def read_prompts(path: str | Path) -> tuple[Prompt, ...]:
    """Read prompts from a CSV with the columns ``emotion`` and ``text``, in its order.

    Raises:
        ManifestError: it cannot be read, or lacks a column.
        LabelError: an emotion is no label.
    """
    source = Path(path)
    try:
        with source.open(encoding="utf-8-sig", newline="") as stream:
            rows = [{k: (v or "").strip() for k, v in row.items() if k} for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error, AttributeError) as error:
        raise ManifestError(f"{str(source)!r} is no CSV of prompts: {error}") from error
    if not rows or not all(row.get("emotion") and row.get("text") for row in rows):
        raise ManifestError(f"{str(source)!r}: expected rows with the columns emotion and text, both filled")
    numbers = {text: f"s{n:02}" for n, text in enumerate(dict.fromkeys(row["text"] for row in rows), 1)}
    return tuple(Prompt(numbers[r["text"]], r["text"], normalize_label(r["emotion"])) for r in rows)


class RecordingSession:
    """One speaker's recording session. Prompts that were kept in an earlier session are not repeated.

    Args:
        folder: of the corpus; its name names the corpus.
        consent: the text that the speaker agreed to.

    Raises:
        ManifestError: the folder holds something else, or other facts about this speaker.
    """

    def __init__(
        self, folder: str | Path, speaker: SpeakerCard, wanted: Sequence[Prompt], *, consent: str
    ) -> None:
        self.folder = Path(folder)
        self.speaker = speaker
        self.prompts = tuple(wanted)
        self.corpus = re.sub(r"[^a-z0-9]+", "_", self.folder.resolve().name.lower()).strip("_") or "own"
        self._table = self.folder / "manifest.csv"
        self.manifest = (
            Manifest.read_csv(self._table, root=self.folder)
            if self._table.exists()
            else Manifest(self.folder)
        )
        self._write_card(consent)

    def _write_card(self, consent: str) -> None:
        card = self.folder / self.speaker.code / "speaker.json"
        facts = asdict(self.speaker)
        if card.exists():
            before = json.loads(card.read_text(encoding="utf-8"))
            if {name: before.get(name) for name in facts} != facts:
                raise ManifestError(
                    f"{str(card)!r} has other facts about {self.speaker.code}: {before}; for another "
                    "person choose another code"
                )
            return
        card.parent.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        text = json.dumps({**facts, "consent": consent, "consented": now}, ensure_ascii=False, indent=2)
        write_text(card, f"{text}\n")

    def left(self) -> Iterator[Prompt]:
        """The prompts without a kept take, in order."""
        for prompt in self.prompts:
            if self._n_takes(prompt) == 0:
                yield prompt

    def _n_takes(self, prompt: Prompt) -> int:
        text = f"{self.corpus}-{prompt.sentence}"
        return sum(
            (u.speaker, u.text, u.emotion) == (f"{self.corpus}-{self.speaker.code}", text, prompt.emotion)
            for u in self.manifest
        )

    def take(self, prompt: Prompt, sound: Floats, sample_rate: int) -> Take:
        """Resample and measure a recording: ``(n,)`` at any rate."""
        resampler = Resampler(sample_rate)
        parts = [resampler.push(sound), resampler.flush()]
        resampled = np.concatenate([np.asarray(part, np.float32).reshape(-1) for part in parts])
        meter = LevelMeter()
        meter.push(resampled)
        duration_s = resampled.size / SAMPLE_RATE
        return Take(
            prompt, resampled, measure_quality(meter, duration_s=duration_s, speech_s=None, min_s=MIN_S)
        )

    def keep(self, take: Take) -> Utterance:
        """Write a take and add it to the manifest, each atomically."""
        speaker, prompt = self.speaker, take.prompt
        number = self._n_takes(prompt) + 1
        key = f"{speaker.code}_{prompt.sentence}_{prompt.emotion}_{number}"
        row = Utterance(
            id=f"{self.corpus}/{key}",
            path=f"{speaker.code}/{key}.flac",
            corpus=self.corpus,
            speaker=f"{self.corpus}-{speaker.code}",
            emotion=prompt.emotion,
            original=prompt.emotion,
            sex=speaker.sex,
            age=speaker.age,
            language=speaker.language,
            text=f"{self.corpus}-{prompt.sentence}",
            extra={"words": prompt.text, "take": str(number)},
        )
        with atomic_path(self.folder / row.path) as partial:
            sound = np.clip(take.sound, -1.0, 1.0)
            soundfile.write(partial, sound, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        self.manifest = Manifest(self.folder, (*self.manifest.utterances, row))
        self.manifest.write_csv(self._table)
        return row
