"""Predict the same clips under noise, channels, codecs, reverberation and changed levels.

Each clip is predicted as it is and then under every condition, by the recogniser that users run. Each
condition reports its UAR, the loss against the unchanged clips (paired, over the same speakers), and the
share of labels that changed: two models of equal score may differ in how stable they are.

Everything random (noise, echoes, the speakers of babble) comes from a seed and the clip's id: it is the same
for any number of workers, and the three levels of a noise are the same noise at three gains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from emovox import _parallel, audio
from emovox._arrays import Floats
from emovox.augment import Transform, make_rng, make_transform
from emovox.datasets.manifest import Manifest, Utterance
from emovox.errors import AudioError, EmovoxError, ManifestError
from emovox.evaluation import metrics
from emovox.evaluation.babble import BabblePool, rank_in_groups
from emovox.evaluation.predictions import Predictions, check_labels, tabulate
from emovox.inference.recognizer import Recognizer
from emovox.results import Prediction

__all__ = [
    "CONDITIONS",
    "Condition",
    "ConditionResult",
    "Robustness",
    "measure_robustness",
    "sample_clips",
]


@dataclass(frozen=True)
class Condition:
    """A change that is applied to every clip. ``babble`` is mixed from the clips of other speakers."""

    name: str
    kind: str
    """Name of a transform in `emovox.augment.TRANSFORMS`."""
    settings: Mapping[str, Any] = field(default_factory=dict)


_SNR_DB = (20.0, 10.0, 0.0)

CONDITIONS: tuple[Condition, ...] = (
    *(Condition(f"white noise, {db:.0f} dB", "noise", {"snr_db": db, "colour": "white"}) for db in _SNR_DB),
    *(Condition(f"babble, {db:.0f} dB", "babble", {"snr_db": db}) for db in _SNR_DB),
    Condition("telephone band", "telephone"),
    Condition("G.711, mu-law", "g711", {"law": "mu"}),
    Condition("mp3, 16 kbit/s", "mp3", {"kbps": 16.0}),
    Condition("opus, 12 kbit/s", "opus", {"kbps": 12.0}),
    Condition("gain +12 dB", "gain", {"gain_db": 12.0}),
    Condition("gain -12 dB", "gain", {"gain_db": -12.0}),
    Condition("room, RT60 0.5 s", "room", {"rt60_s": 0.5, "direct_db": 0.0}),
    Condition("clipping, 5 % of samples", "clipping", {"percent": 5.0}),
)
"""The same for all models, so that they can be compared."""


@dataclass(frozen=True)
class ConditionResult:
    """Predictions under one condition, beside those on the unchanged clips."""

    condition: Condition
    answers: Predictions
    plain: Predictions

    def share_changed(self) -> float:
        """Return the share of clips whose label changed; no label counts as a label of its own."""
        pairs = zip(self.answers.y_pred, self.plain.y_pred, strict=True)
        return sum(a != b for a, b in pairs) / len(self.answers)

    def uar_loss(self) -> metrics.Difference:
        """Return the loss of UAR against the unchanged clips, with its interval over speakers."""
        plain = self.plain
        return metrics.paired_difference(
            plain.y_true, plain.y_pred, self.answers.y_pred, plain.speakers, "uar"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        uar, lost = self.answers.uar(), self.uar_loss()
        return {
            "condition": self.condition.name,
            "kind": self.condition.kind,
            "settings": dict(self.condition.settings),
            "uar": {"value": uar.value, "low": uar.low, "high": uar.high, "n_speakers": uar.n_speakers},
            "lost": {"value": lost.value, "low": lost.low, "high": lost.high},
            "changed": self.share_changed(),
            "coverage": self.answers.coverage(),
            "errors": [{"id": key, "error": error} for key, error in self.answers.errors],
        }


@dataclass(frozen=True)
class Robustness:
    """Predictions on unchanged clips and under each condition."""

    plain: Predictions
    rows: tuple[ConditionResult, ...]
    seed: int = 0
    notes: tuple[str, ...] = ()
    """Conditions that were left out, and why."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
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
    """Predict every clip of a manifest as it is and under each condition.

    A clip that cannot be read or changed counts as wrong in the rows it concerns, with its error.

    Args:
        labels: predict only these (scores are renormalised); all labels of the recogniser by default.
        seed: of noise, echoes and babble.
        workers: processes; the result is the same for any number of them.
        progress: called with (clips done, clips in all).

    Raises:
        ManifestError: the manifest is empty, or has an emotion that cannot be predicted.
        ConfigError: a condition names no transform, or wrong settings.
    """
    names = check_labels(recognizer, manifest, labels)
    used = list(conditions)
    notes: tuple[str, ...] = ()
    if len(manifest.speakers) < 2 and any(c.kind == "babble" for c in conditions):
        used = [c for c in conditions if c.kind != "babble"]
        notes = ("no babble: it is mixed from other speakers, and the data has one",)
    for condition in used:
        _make_transform(condition)  # wrong settings are reported before the work
    predict_clip = partial(_make_clip_test, recognizer, manifest, names, used, seed)
    found: list[list[Prediction]] = []
    for outcome in _parallel.map_items(predict_clip, list(manifest), workers=workers):
        failed = Prediction(None, file=str(manifest.file(outcome.item)), error=outcome.error)
        found.append([failed] * (len(used) + 1) if outcome.value is None else outcome.value)
        if progress is not None:
            progress(len(found), len(manifest))
    plain, *changed = (tabulate(manifest, names, column) for column in zip(*found, strict=True))
    rows = (ConditionResult(c, answers, plain) for c, answers in zip(used, changed, strict=True))
    return Robustness(plain, tuple(rows), seed, notes)


def sample_clips(manifest: Manifest, n: int) -> Manifest:
    """Draw ``n`` clips, evenly over speakers and their emotions; the same clips at each call.

    Raises:
        ManifestError: ``n`` is below 1.
    """
    if n < 1:
        raise ManifestError(f"got {n} clips to draw; expected 1 or more")
    ranked = rank_in_groups(manifest, lambda u: (u.speaker, u.emotion))
    chosen = {u.id for u in ranked[:n]}
    return manifest.keep(lambda u: u.id in chosen)


# --- one clip -------------------------------------------------------------------------------------


def _make_transform(condition: Condition) -> Transform | None:
    """Make the transform; ``None`` for babble, which is mixed from the data and not from a folder."""
    return None if condition.kind == "babble" else make_transform(condition.kind, **condition.settings)


def _make_clip_test(
    recognizer: Recognizer, manifest: Manifest, names: tuple[str, ...], used: Sequence[Condition], seed: int
) -> Callable[[Utterance], list[Prediction]]:
    """Make the function that predicts a clip under all conditions; called once in each process."""
    made = [(c, _make_transform(c)) for c in used]
    return _ClipTest(recognizer, manifest, names, made, seed, BabblePool(manifest)).predict


@dataclass(frozen=True)
class _ClipTest:
    recognizer: Recognizer
    manifest: Manifest
    names: tuple[str, ...]
    conditions: Sequence[tuple[Condition, Transform | None]]
    seed: int
    pool: BabblePool

    def predict(self, u: Utterance) -> list[Prediction]:
        """Predict the unchanged clip, then the clip under each condition."""
        file = str(self.manifest.file(u))
        try:
            x = self.manifest.read(u)
        except AudioError as error:
            return [Prediction(None, file=file, error=str(error))] * (len(self.conditions) + 1)
        found = []
        for condition, change in ((None, None), *self.conditions):
            try:
                y = x if condition is None else self._apply(condition, change, x, u)
                prediction = self.recognizer.predict(y, sample_rate=audio.SAMPLE_RATE, labels=self.names)
            except EmovoxError as error:
                prediction = Prediction(None, file=file, error=str(error))
            found.append(prediction)
        return found

    def _apply(self, condition: Condition, change: Transform | None, x: Floats, u: Utterance) -> Floats:
        # The level is no part of the seed: all levels of a noise are the same noise.
        rng = make_rng(self.seed, f"{condition.kind}:{u.id}")
        if change is not None:
            return change(x, rng)
        return self.pool.add_babble(x, u, condition.settings["snr_db"], rng)
