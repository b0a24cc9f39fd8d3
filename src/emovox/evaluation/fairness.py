"""Differences between groups of clips, and the limit that chance sets them.

What a group gets is compared with what the model does on all clips with the same true labels, by its
confusion matrix over all groups. So groups may differ in which labels they have, as corpora do: only a model
that treats the same label in another way differs.

The limit follows A. Derington et al., "Testing Correctness, Fairness, and Robustness of Speech Emotion
Recognition Models" (IEEE Transactions on Affective Computing, 2025), which simulates 1,000 random models on
groups of the same size. There a random model draws its labels evenly; here it draws them by the confusion
matrix of the model in question, whatever the group: recalls near one half vary by chance more than those of
even draws. Clips of one speaker are not independent, which this does not count; intervals over speakers do.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from emovox._arrays import Doubles
from emovox.datasets.manifest import Manifest, Utterance
from emovox.errors import AudioError
from emovox.evaluation import metrics
from emovox.evaluation.scorecard import GROUPS
from emovox.features.frames import ShortTime
from emovox.features.pitch import f0

__all__ = [
    "MIN_CLIPS",
    "MIN_CLIPS_OF_LABEL",
    "N_SIMULATIONS",
    "PITCH_BANDS",
    "GroupComparison",
    "GroupDifference",
    "Measure",
    "compare_groups",
    "group_by_pitch",
    "group_clips",
]

Measure: TypeAlias = Literal["uar", "recall", "share"]
"""What is compared: UAR, the recall of each label, or the share of each label among the predictions.

The UAR of a group is over the labels of which it has `MIN_CLIPS_OF_LABEL` clips: one clip of a label would
weigh as much as all clips of another."""

MIN_CLIPS = 30
"""A smaller group is left out."""

MIN_CLIPS_OF_LABEL = 10
"""The recall of a label is compared, alone or in the UAR, in groups that have so many clips of it."""

N_SIMULATIONS = 1000
CHANCE_QUANTILE = 0.99
"""The limit is exceeded by one in a hundred random models."""

PITCH_BANDS: tuple[tuple[float, str], ...] = (
    (145, "under 145 Hz"),
    (190, "145 to 190 Hz"),
    (350, "over 190 Hz"),
)
"""F0 of a speaker in Hz below which a group ends, and its name; those of Derington et al."""

CLIPS_PER_SPEAKER = 10
"""Clips of which the F0 of a speaker is measured."""


@dataclass(frozen=True, slots=True)
class GroupDifference:
    """What a group gets, and what the model does on all clips with the same true labels."""

    group: str
    label: str | None
    """Of a recall or share; ``None``: UAR."""
    value: float
    expected: float
    low: float | None
    """Interval of ``value`` over the speakers of the group; ``None`` with too few of them."""
    high: float | None
    n_clips: int
    n_speakers: int

    @property
    def difference(self) -> float:
        """Value less expected value."""
        return self.value - self.expected


@dataclass(frozen=True, slots=True)
class GroupComparison:
    """The differences of all groups, largest first in each, and what chance does."""

    measure: Measure
    differences: tuple[GroupDifference, ...]
    """The largest of each group, the largest of all first."""
    chance: float
    """What the largest difference of one in a hundred random models exceeds."""
    left_out: Mapping[str, int]
    """Groups with too few clips, and how many they have."""

    @property
    def largest(self) -> float:
        """The largest difference, without its sign."""
        return abs(self.differences[0].difference)


def compare_groups(
    y_true: Sequence[str],
    y_pred: Sequence[str],
    speakers: Sequence[Hashable],
    groups: Sequence[str | None],
    measure: Measure,
    *,
    n_simulations: int = N_SIMULATIONS,
    seed: int = 0,
) -> GroupComparison | None:
    """Compare groups of clips; clips whose group is ``None`` are left out.

    Args:
        y_true, y_pred, speakers, groups: one for each clip.
        measure: what is compared.
        n_simulations: random models whose largest differences set the limit of chance.

    Returns:
        The comparison, or ``None`` where fewer than two groups have enough clips.
    """
    sizes = {name: groups.count(name) for name in dict.fromkeys(groups) if name is not None}
    names = sorted(name for name, n in sizes.items() if n >= MIN_CLIPS)
    left_out = {name: n for name, n in sizes.items() if n < MIN_CLIPS}
    if len(names) < 2:
        return None
    labels = sorted({*y_true, *y_pred})
    counts = np.zeros((len(names), len(labels), len(labels)), np.int64)
    for true, pred, group in zip(y_true, y_pred, groups, strict=True):
        if group in names:
            counts[names.index(group), labels.index(true), labels.index(pred)] += 1
    values, expected = _MEASURES[measure](counts)
    rng = np.random.default_rng(seed)
    all_groups = counts.sum(axis=0)
    shares = all_groups / np.maximum(all_groups.sum(axis=1, keepdims=True), 1)
    simulated = np.zeros((n_simulations, *counts.shape), np.int64)
    for g, of_label in enumerate(counts.sum(axis=2)):
        for k, n in enumerate(of_label):
            if n:
                simulated[:, g, k] = rng.multinomial(n, shares[k], size=n_simulations)
    by_chance = np.nan_to_num(np.abs(np.subtract(*_MEASURES[measure](simulated))))
    chance = float(np.quantile(by_chance.max(axis=(1, 2)), CHANCE_QUANTILE))
    found = []
    for g, group in enumerate(names):
        gaps = np.abs(values[g] - expected[g])
        if np.isnan(gaps).all():  # the group has too few clips of each label
            left_out[group] = sizes[group]
            continue
        k = int(np.nanargmax(gaps))
        at = [i for i, name in enumerate(groups) if name == group]
        label = None if measure == "uar" else labels[k]
        of_group = [[column[i] for i in at] for column in (y_true, y_pred, speakers)]
        found.append(_describe(group, label, measure, float(values[g, k]), float(expected[g, k]), of_group))
    if len(found) < 2:
        return None
    found.sort(key=lambda one: -abs(one.difference))
    return GroupComparison(measure, tuple(found), chance, left_out)


def _describe(
    group: str, label: str | None, measure: Measure, value: float, expected: float, columns: list[list[Any]]
) -> GroupDifference:
    """Add the interval over the speakers of the group; ``columns`` are its true labels, answers, speakers."""
    true, pred, who = columns
    if measure != "share":
        compared = {name for name in true if true.count(name) >= MIN_CLIPS_OF_LABEL}
        at = [i for i, name in enumerate(true) if name in (compared if label is None else {label})]
        true, pred, who = ([column[i] for i in at] for column in columns)
    if measure == "share":  # the accuracy that the group would have if all its clips were of this label
        true = [label] * len(pred)
    interval = metrics.speaker_interval(true, pred, who, "uar" if measure == "uar" else "wa")
    return GroupDifference(
        group, label, value, expected, interval.low, interval.high, len(columns[0]), len({*columns[2]})
    )


# --- measures of counts (..., n_groups, n_labels, n_labels): values and expected values, (..., n_groups, m)


def _recalls(counts: NDArray[np.int64]) -> tuple[Doubles, Doubles]:
    own, right = counts.sum(axis=-1), np.diagonal(counts, axis1=-2, axis2=-1)
    total = np.maximum(own.sum(axis=-2, keepdims=True), 1)
    known = own >= MIN_CLIPS_OF_LABEL
    values = np.where(known, right / np.maximum(own, 1), np.nan)
    return values, np.where(known, right.sum(axis=-2, keepdims=True) / total, np.nan)


def _uars(counts: NDArray[np.int64]) -> tuple[Doubles, Doubles]:
    values, expected = _recalls(counts)
    n = (~np.isnan(values)).sum(axis=-1, keepdims=True)
    sums = (np.nansum(recalls, axis=-1, keepdims=True) for recalls in (values, expected))
    value, of_all = (np.where(n > 0, one / np.maximum(n, 1), np.nan) for one in sums)
    return value, of_all


def _shares(counts: NDArray[np.int64]) -> tuple[Doubles, Doubles]:
    n = counts.sum(axis=(-2, -1))[..., None]
    own, of_all = counts.sum(axis=-1), counts.sum(axis=-3, keepdims=True)
    answers = of_all / np.maximum(of_all.sum(axis=-1, keepdims=True), 1)
    expected = (own[..., None] * answers).sum(axis=-2) / n
    return counts.sum(axis=-2) / n, expected


_MEASURES: Mapping[Measure, Callable[[NDArray[np.int64]], tuple[Doubles, Doubles]]] = {
    "uar": _uars,
    "recall": _recalls,
    "share": _shares,
}


# --- groups ---------------------------------------------------------------------------------------


def group_clips(clips: Manifest, by: str) -> list[str | None]:
    """Return the group of each clip; ``None``: not known.

    Args:
        by: ``sex``, ``age``, ``language``, ``corpus``, ``pitch``, or a column of the manifest's extra facts,
            such as ``accent``.
    """
    if by == "pitch":
        return group_by_pitch(clips)

    def find_extra(u: Utterance) -> str | None:
        return u.extra.get(by) or None

    return [GROUPS.get(by, find_extra)(u) for u in clips]


def group_by_pitch(clips: Manifest) -> list[str | None]:
    """Return the pitch group of each clip: by the F0 of its speaker, or its own without a speaker.

    The F0 of a speaker is the mean over up to `CLIPS_PER_SPEAKER` clips, spread evenly over all of them,
    of the median over their voiced frames: single frames of noise are tracked at several hundred Hz.
    ``None``: it is below 50 or above 350 Hz, or no frame is voiced.
    """
    of_speaker: dict[str, list[Utterance]] = {}
    for u in clips:
        of_speaker.setdefault(u.known_speaker or u.id, []).append(u)
    found = {name: _name_pitch(_measure_pitch(clips, own)) for name, own in of_speaker.items()}
    return [found[u.known_speaker or u.id] for u in clips]


def _measure_pitch(clips: Manifest, own: Sequence[Utterance]) -> float | None:
    places = np.unique(np.linspace(0, len(own) - 1, min(len(own), CLIPS_PER_SPEAKER)).round().astype(int))
    medians = []
    for place in places:
        try:
            hz = f0(ShortTime(clips.read(own[place]), 16_000))[:, 0]
        except AudioError:  # the test counts the clip as wrong; here the speaker's other clips do
            continue
        if not np.isnan(hz).all():
            medians.append(float(np.nanmedian(hz)))
    return float(np.mean(medians)) if medians else None


def _name_pitch(hz: float | None) -> str | None:
    if hz is None or hz < 50:
        return None
    return next((name for top, name in PITCH_BANDS if hz < top), None)
