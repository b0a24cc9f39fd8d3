"""What is a score worth once the sound is worse? The same clips under noise, lines, codecs, rooms and levels.

Each clip is judged as it is and then under every condition, by the recogniser that users run. Beside the UAR
of a condition stand what it lost against the clips as they are, on the same speakers, and the share of
answers that are others than before: two models of one score may differ in how steady they are.

What is drawn (noise, echoes, which voices babble) comes from a seed and the clip's id: it is the same for any
number of workers, and the three levels of a noise are one noise, louder and louder.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from emovox import _parallel, audio
from emovox._arrays import Floats
from emovox.augment import Transform, babble, generator, transform
from emovox.augment.base import turned_down, with_noise
from emovox.datasets.manifest import Manifest, Utterance
from emovox.errors import AudioError, EmovoxError, ManifestError
from emovox.evaluation import metrics
from emovox.evaluation.predictions import Predictions, check_labels, tabulate
from emovox.inference.recognizer import Recognizer
from emovox.results import Prediction

__all__ = [
    "CONDITIONS",
    "N_VOICES",
    "POOL",
    "Condition",
    "ConditionResult",
    "Robustness",
    "measure_robustness",
    "sample_clips",
]

N_VOICES = 6
"""Voices that babble at once."""

POOL = 24
"""Clips of the data that lend their voices to the babble."""


@dataclass(frozen=True)
class Condition:
    """A change that every clip goes through. ``babble`` takes its voices from the other speakers' clips."""

    name: str
    kind: str
    """A transform's name in `emovox.augment.KINDS`."""
    settings: Mapping[str, Any] = field(default_factory=dict)


def _conditions() -> tuple[Condition, ...]:
    at = (20.0, 10.0, 0.0)
    return (
        *(Condition(f"white noise, {db:.0f} dB", "noise", {"snr_db": db, "colour": "white"}) for db in at),
        *(Condition(f"babble, {db:.0f} dB", "babble", {"snr_db": db}) for db in at),
        Condition("telephone band", "telephone"),
        Condition("G.711, mu-law", "g711", {"law": "mu"}),
        Condition("mp3, 16 kbit/s", "mp3", {"kbps": 16.0}),
        Condition("opus, 12 kbit/s", "opus", {"kbps": 12.0}),
        Condition("gain +12 dB", "gain", {"gain_db": 12.0}),
        Condition("gain -12 dB", "gain", {"gain_db": -12.0}),
        Condition("room, RT60 0.5 s", "room", {"rt60_s": 0.5, "direct_db": 0.0}),
        Condition("clipping, 5 % of samples", "clipping", {"percent": 5.0}),
    )


CONDITIONS: tuple[Condition, ...] = _conditions()
"""What everyone is asked, so that models can be compared."""


@dataclass(frozen=True)
class ConditionResult:
    """What became of the answers under one condition."""

    condition: Condition
    answers: Predictions
    plain: Predictions
    """The answers to the same clips as they are."""

    def changed(self) -> float:
        """Share of clips whose answer is another than before; having none is an answer of its own."""
        pairs = zip(self.answers.y_pred, self.plain.y_pred, strict=True)
        return sum(a != b for a, b in pairs) / len(self.answers)

    def lost(self) -> metrics.Difference:
        """UAR as it is less UAR under the condition, with its interval over speakers."""
        plain = self.plain
        return metrics.paired_difference(
            plain.y_true, plain.y_pred, self.answers.y_pred, plain.speakers, "uar"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        uar, lost = self.answers.uar(), self.lost()
        return {
            "condition": self.condition.name,
            "kind": self.condition.kind,
            "settings": dict(self.condition.settings),
            "uar": {"value": uar.value, "low": uar.low, "high": uar.high, "n_speakers": uar.n_speakers},
            "lost": {"value": lost.value, "low": lost.low, "high": lost.high},
            "changed": self.changed(),
            "coverage": self.answers.coverage(),
            "errors": [{"id": key, "error": why} for key, why in self.answers.errors],
        }


@dataclass(frozen=True)
class Robustness:
    """The answers as the clips are, and under each condition."""

    plain: Predictions
    rows: tuple[ConditionResult, ...]
    seed: int = 0
    notes: tuple[str, ...] = ()
    """What was not tried, and why."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        uar = self.plain.uar()
        return {
            "n_clips": len(self.plain),
            "n_speakers": uar.n_speakers,
            "seed": self.seed,
            "plain": {"value": uar.value, "low": uar.low, "high": uar.high},
            "rows": [row.to_dict() for row in self.rows],
            "notes": list(self.notes),
        }


def measure_robustness(
    recognizer: Recognizer,
    manifest: Manifest,
    *,
    labels: Sequence[str] | None = None,
    conditions: Sequence[Condition] = CONDITIONS,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Robustness:
    """Judge every clip of ``manifest`` as it is and under each condition.

    A clip that cannot be read, or changed, is an answer that is wrong, with its error, in the rows it
    concerns, and costs no other.

    Args:
        labels: answer only these (renormalised); else all the recogniser knows.
        seed: of noise, echoes and voices.
        workers: processes; the answers are the same for any number of them.
        progress: called with (done, all), in clips.

    Raises:
        ManifestError: the manifest is empty, or has an emotion that cannot be answered.
        ConfigError: a condition names no transform, or wrong settings.
    """
    names = check_labels(recognizer, manifest, labels)
    tried, notes = _possible(conditions, manifest)
    for condition in tried:
        _change(condition)  # refuses what is wrong before the work
    trial = partial(_trial, recognizer, manifest, names, tried, seed)
    found: list[list[Prediction]] = []
    for outcome in _parallel.run(trial, list(manifest), workers=workers):
        failed = Prediction(None, file=str(manifest.file(outcome.item)), error=outcome.error)
        found.append([failed] * (len(tried) + 1) if outcome.value is None else outcome.value)
        if progress is not None:
            progress(len(found), len(manifest))
    columns = [tabulate(manifest, names, column) for column in zip(*found, strict=True)]
    rows = zip(tried, columns[1:], strict=True)
    return Robustness(
        columns[0], tuple(ConditionResult(c, answers, columns[0]) for c, answers in rows), seed, notes
    )


def sample_clips(manifest: Manifest, n: int) -> Manifest:
    """``n`` clips, the same whenever it is asked, dealt evenly over speakers and their emotions.

    Raises:
        ManifestError: ``n`` is below 1.
    """
    if n < 1:
        raise ManifestError(f"a sample of {n} clips was asked for; expected 1 or more")
    rounds: dict[tuple[str, str], int] = {}
    order = []
    for u in sorted(manifest, key=_lot):
        place = rounds.get((u.speaker, u.emotion), 0)
        rounds[u.speaker, u.emotion] = place + 1
        order.append((place, _lot(u), u.id))
    chosen = {key for _, _, key in sorted(order)[:n]}
    return manifest.keep(lambda u: u.id in chosen)


def _lot(u: Utterance) -> tuple[int, str]:
    """Where a clip stands in an order that means nothing."""
    return zlib.crc32(u.id.encode()), u.id


# ------------------------------------------------------------------------------------ one clip


def _possible(conditions: Sequence[Condition], manifest: Manifest) -> tuple[list[Condition], tuple[str, ...]]:
    """Without babble where nobody else speaks."""
    if len(manifest.speakers) > 1 or all(c.kind != "babble" for c in conditions):
        return list(conditions), ()
    kept = [c for c in conditions if c.kind != "babble"]
    return kept, ("no babble: it is made of other speakers, and there is one alone",)


def _change(condition: Condition) -> Transform | None:
    """The transform; ``None`` for babble, whose voices come from the data and not from a folder."""
    return None if condition.kind == "babble" else transform(condition.kind, **condition.settings)


def _trial(
    recognizer: Recognizer, manifest: Manifest, names: tuple[str, ...], tried: Sequence[Condition], seed: int
) -> Callable[[Utterance], list[Prediction]]:
    """What judges a clip; made anew in each process."""
    return _Trial(recognizer, manifest, names, [(c, _change(c)) for c in tried], seed).answers


@dataclass(frozen=True)
class _Trial:
    """One clip after the other, as it is and under each condition."""

    recognizer: Recognizer
    manifest: Manifest
    names: tuple[str, ...]
    tried: Sequence[tuple[Condition, Transform | None]]
    seed: int
    voices: dict[str, Floats | None] = field(default_factory=dict)
    """Those that babble, by the id of their clip, read once."""

    def answers(self, u: Utterance) -> list[Prediction]:
        """The clip's own answer and then one for each condition."""
        file = str(self.manifest.file(u))
        try:
            x = self.manifest.read(u)
        except AudioError as error:
            return [Prediction(None, file=file, error=str(error))] * (len(self.tried) + 1)
        return [self._judged(lambda: x, file)] + [
            self._judged(partial(self._changed, x, u, condition, change), file)
            for condition, change in self.tried
        ]

    def _judged(self, sound: Callable[[], Floats], file: str) -> Prediction:
        try:
            return self.recognizer.predict(sound(), sample_rate=audio.SAMPLE_RATE, labels=self.names)
        except EmovoxError as error:
            return Prediction(None, file=file, error=str(error))

    def _changed(self, x: Floats, u: Utterance, condition: Condition, change: Transform | None) -> Floats:
        rng = generator(self.seed, f"{condition.kind}:{u.id}")  # the noise is one, whatever its level
        if change is not None:
            return change(x, rng)
        noise = babble(list(self._others(u, rng)), len(x), rng)
        return np.clip(turned_down(with_noise(x, noise, condition.settings["snr_db"])), -1, 1)

    def _others(self, u: Utterance, rng: np.random.Generator) -> Iterator[Floats]:
        """Voices of other speakers; one that cannot be read lends its place to the next."""
        pool = [other for other in _pool(self.manifest) if other.speaker != u.speaker]
        heard = (self._voice(pool[k]) for k in rng.permutation(len(pool)))
        return islice((voice for voice in heard if voice is not None), N_VOICES)

    def _voice(self, u: Utterance) -> Floats | None:
        if u.id not in self.voices:
            try:
                self.voices[u.id] = self.manifest.read(u)
            except AudioError:
                self.voices[u.id] = None
        return self.voices[u.id]


def _pool(manifest: Manifest) -> list[Utterance]:
    """Clips that lend their voices, as many of each speaker as of any other."""
    taken: dict[str, int] = {}
    order = []
    for u in sorted(manifest, key=_lot):
        taken[u.speaker] = taken.get(u.speaker, 0) + 1
        order.append((taken[u.speaker], _lot(u), u))
    return [u for _, _, u in sorted(order, key=lambda row: row[:2])[:POOL]]
