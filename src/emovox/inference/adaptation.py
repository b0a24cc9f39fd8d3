"""Adaptation to one speaker or source, by statistics that hold no sound.

::

    profile = model.enroll(["me1.wav", "me2.wav"])     # unlabelled; the more varied, the better
    profile.save("me.json")
    model.predict("clip.wav", profile=Profile.load("me.json"))

A profile holds, for every column that the model learns from, how many clips had a value, their mean and their
variance. The columns are the features of a vector model with a speaker normalizer, or the embedding of a
model whose graph takes an offset. A profile is bound to these columns; it holds no sound.
"""

from __future__ import annotations

import json
import math
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emovox._arrays import Doubles, Floats, Ints
from emovox._files import atomic_path
from emovox.bundles import Bundle, Features, GraphAdaptation
from emovox.bundles.record import Record, parse_json
from emovox.bundles.spec import LARGEST
from emovox.errors import ProfileError
from emovox.results import Adaptation

__all__ = [
    "EMBEDDING",
    "MAX_PROFILE_BYTES",
    "SCHEMA",
    "Profile",
    "RunningStatistics",
    "make_adaptation",
    "make_statistics",
]

SCHEMA = 1
"""Version of the file that this code writes and reads."""

MAX_PROFILE_BYTES = 1 << 23
"""A profile of 6373 columns has 0.4 MB; a larger file than this is not one."""

EMBEDDING = "embedding"
"""What a profile names its columns when they are those of a model's embedding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile(Record):
    """Statistics of one speaker or source. Immutable; `Recognizer.enroll` makes it.

    Raises:
        ValueError: the values contradict each other; the message names the key.
    """

    schema: int = SCHEMA
    model: str
    """Name and version of the model that it was made with, for people."""
    features: Features
    """What the columns are. A model on other features refuses the profile."""
    emotion: str | None = None
    """``neutral`` when all clips were neutral; else they are of any emotions."""
    n_clips: int
    seconds: float
    """Length of the clips together."""
    counts: tuple[int, ...]
    """Clips in which the column had a value."""
    mean: tuple[float | None, ...]
    """``None`` where no clip had one."""
    variance: tuple[float | None, ...]
    """Divided by the count; ``None`` where no clip had a value."""

    def _check(self) -> None:
        if self.emotion not in (None, "neutral"):
            raise ValueError(f"emotion: {self.emotion!r}; expected 'neutral' or null")
        if self.schema != SCHEMA:
            raise ValueError(f"schema: {self.schema}, expected {SCHEMA}; update emovox")
        if self.n_clips < 0 or self.seconds < 0:
            raise ValueError(f"n_clips: {self.n_clips} clips of {self.seconds:g} s; expected 0 or more")
        n = len(self.counts)
        if (len(self.mean), len(self.variance)) != (n, n):
            raise ValueError(f"mean: {len(self.mean)} means, {len(self.variance)} variances, {n} counts")
        if self.features.columns is not None and len(self.features.columns) != n:
            raise ValueError(f"counts: {n}, features names {len(self.features.columns)} columns")
        for place, (count, mean, variance) in enumerate(
            zip(self.counts, self.mean, self.variance, strict=True)
        ):
            if not 0 <= count <= self.n_clips:
                raise ValueError(f"counts.{place}: {count}; expected 0 to n_clips, {self.n_clips}")
            if (count == 0) != (mean is None) or (count == 0) != (variance is None):
                raise ValueError(f"mean.{place}: a mean and a variance belong to a count above 0, no others")
            if mean is not None and not abs(mean) <= LARGEST:
                raise ValueError(f"mean.{place}: {mean:g}; expected {-LARGEST:g} to {LARGEST:g}")
            if variance is not None and not 0 <= variance <= LARGEST**2:
                raise ValueError(f"variance.{place}: {variance:g}; expected 0 to {LARGEST**2:g}")

    def __repr__(self) -> str:
        return (
            f"Profile({self.n_clips} clips, {self.seconds:.1f} s, {len(self.counts)} columns of "
            f"{self.features.set!r})"
        )

    def merge(self, other: Profile) -> Profile:
        """Return the profile of the clips of both, as if they had been enrolled together.

        Raises:
            ProfileError: they are of different features, or one is of neutral clips alone.
        """
        if self.features != other.features:
            raise ProfileError(
                f"a profile of {other.features.set!r} cannot be added to one of {self.features.set!r}: "
                "enroll both with the same model"
            )
        if self.emotion != other.emotion:
            raise ProfileError("a profile of neutral clips cannot be merged with one of any emotions")
        statistics = RunningStatistics(self.model, self.features, emotion=self.emotion)
        statistics.add(self)
        statistics.add(other)
        return statistics.profile()

    def to_dict(self) -> dict[str, object]:
        """Plain JSON types; ``emotion`` only where it says something."""
        values = super(Profile, self).to_dict()
        if self.emotion is None:
            del values["emotion"]
        return values

    def to_json(self) -> str:
        """Return the text of a profile's file, one line; no sound, no name of a file."""
        return json.dumps(self.to_dict(), allow_nan=False, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: bytes | str) -> Profile:
        """Read the text that `to_json` returned.

        Raises:
            ProfileError: it is no profile; the message says what is wrong with it.
        """
        try:
            return cls.from_dict(parse_json(text.encode() if isinstance(text, str) else text))
        except ValueError as error:
            raise ProfileError(f"it is no voice profile: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file ``path``, whole or not at all; an existing one is replaced.

        Raises:
            ProfileError: it cannot be written.
        """
        file = Path(path)
        if not file.parent.is_dir():  # a typo makes no folders
            raise ProfileError(f"{file} cannot be written: there is no folder {str(file.parent)!r}")
        try:
            with atomic_path(file) as partial:
                partial.write_text(self.to_json(), encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ProfileError(f"{file} cannot be written: {_explain(error)}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read the file ``path``.

        Raises:
            ProfileError: it cannot be read, or is no profile.
        """
        try:
            file = Path(path)
            about = file.stat()
            if not stat.S_ISREG(about.st_mode):  # a FIFO would block for ever
                raise ProfileError("it is not a regular file")
            if about.st_size > MAX_PROFILE_BYTES:
                raise ProfileError(f"it has {about.st_size} bytes, at most {MAX_PROFILE_BYTES} are accepted")
            with file.open("rb") as stream:
                return cls.from_json(stream.read(MAX_PROFILE_BYTES))
        except ProfileError as error:
            raise ProfileError(f"{os.fspath(path)}: {error}") from None
        except (OSError, ValueError) as error:
            raise ProfileError(f"{os.fspath(path)} cannot be read: {_explain(error)}") from error


class RunningStatistics:
    """Mean and variance of the rows of one source, updated clip by clip; keeps nothing but sums.

    Source: the update of mean and sum of squares by Chan, Golub and LeVeque (1983), "Algorithms for computing
    the sample variance".

    Args:
        model: what the profile says of the model that made it.
        features: what the columns are.
        emotion: ``neutral`` when all clips will be neutral.
    """

    def __init__(self, model: str, features: Features, *, emotion: str | None = None) -> None:
        self._model, self._features, self._emotion = model, features, emotion
        self.n_clips = 0
        self.seconds = 0.0
        self._counts: Ints = np.zeros(0, np.intp)
        self._mean: Doubles = np.zeros(0)
        self._squares: Doubles = np.zeros(0)
        """Sums of squared distances from the mean."""

    def push(self, row: Floats, seconds: float) -> None:
        """Take the row ``(d,)`` of one clip of that length; nan is missing."""
        known = np.abs(row) <= LARGEST  # neither nan nor infinite
        counts, mean = known.astype(np.intp), np.where(known, row, 0.0).astype(np.float64)
        self._merge(1, seconds, counts, mean, np.zeros(len(row)))

    def add(self, profile: Profile) -> None:
        """Take all that a profile of the same columns knows."""
        counts = np.array(profile.counts, np.intp)
        mean, variance = (
            np.array([0.0 if value is None else value for value in values])
            for values in (profile.mean, profile.variance)
        )
        self._merge(profile.n_clips, profile.seconds, counts, mean, variance * counts)

    def _merge(self, n_clips: int, seconds: float, counts: Ints, mean: Doubles, squares: Doubles) -> None:
        if not n_clips:
            return
        if not self.n_clips:  # the number of columns is known from the first row on
            self._counts, self._mean, self._squares = counts, mean, squares
        else:
            total = self._counts + counts
            share = counts / np.maximum(total, 1)
            difference = mean - self._mean
            self._squares = self._squares + squares + difference**2 * self._counts * share
            self._mean = np.where(self._counts > 0, self._mean + difference * share, mean)
            self._counts = total
        self.n_clips += n_clips
        self.seconds += seconds

    @property
    def moments(self) -> tuple[Doubles, Doubles, Doubles]:
        """Counts, means and variances ``(d,)`` float64; nan where no clip had a value."""
        known = self._counts > 0
        divisor = np.where(known, self._counts, 1)
        mean, variance = (np.where(known, x, np.nan) for x in (self._mean, self._squares / divisor))
        return self._counts.astype(np.float64), mean, variance

    def profile(self) -> Profile:
        """Return what is known so far."""
        counts, mean, variance = self.moments
        return Profile(
            model=self._model,
            features=self._features,
            emotion=self._emotion,
            n_clips=self.n_clips,
            seconds=self.seconds,
            counts=tuple(int(count) for count in counts),
            mean=_without_nan(mean),
            variance=_without_nan(variance),
        )


def make_statistics(
    bundle: Bundle, past: Profile | None = None, *, emotion: str | None = None
) -> RunningStatistics:
    """Open statistics of a source for that model: empty, or beginning with ``past``.

    Raises:
        ProfileError: the model cannot be adapted, or ``past`` is of other columns.
    """
    features = _features_of(bundle)
    known = bundle.spec.adaptation
    if emotion is not None and (known is None or known.neutral_mean is None):
        raise ProfileError(
            f"the model {bundle.spec.name!r} knows no neutral speech: enroll varied speech, name no emotion"
        )
    statistics = RunningStatistics(f"{bundle.spec.name} {bundle.spec.version}", features, emotion=emotion)
    if past is not None:
        n_columns = _n_columns(bundle)
        if past.features != features or len(past.counts) != n_columns:
            raise ProfileError(
                f"the profile is of {_describe(past.features, len(past.counts))}, the model "
                f"{bundle.spec.name!r} takes {_describe(features, n_columns)}: enroll again with this model"
            )
        statistics.add(_relative_to_all(bundle, past))
    return statistics


def make_adaptation(bundle: Bundle, known: Profile | RunningStatistics) -> GraphAdaptation | None:
    """How a bundle adapts to a source: statistics of the source, shrunken to those of the training.

    With ``n`` clips the source has the weight ``n / (n + shrinkage)`` in a feature model and after neutral
    clips. For an embedding learnt from varied speech it is ``(n - 1) / (n + shrinkage)``: one clip says more
    about its own emotion than about its source, and few clips then never cost much (docs/experiments).
    Without any clip the answer is ``None``.

    Raises:
        ProfileError: the model cannot be adapted, or the profile is of other columns.
    """
    statistics = make_statistics(bundle, known) if isinstance(known, Profile) else known
    if not statistics.n_clips:
        return None
    n = statistics.n_clips
    emotion = known.emotion if isinstance(known, Profile) else None
    if bundle.normalizer is not None:
        summary = Adaptation(n, n / (n + bundle.normalizer.shrinkage), emotion)
        return GraphAdaptation(summary, standard=bundle.normalizer.shrink(*statistics.moments))
    adaptation = bundle.spec.adaptation
    assert adaptation is not None  # make_statistics has checked it
    _, mean, _ = statistics.moments
    weight = (n - 1 if emotion is None else n) / (n + adaptation.shrinkage)
    # A profile may lack a column; the graph must not get nan.
    offset = np.nan_to_num(weight * (mean - np.array(adaptation.mean)))
    return GraphAdaptation(Adaptation(n, weight, emotion), offset=offset.astype(np.float32))


def _relative_to_all(bundle: Bundle, profile: Profile) -> Profile:
    """A profile of neutral clips, moved by what separates neutral speech from all speech in the training.

    Statistics of both kinds are then relative to the same mean, and a stream may go on from either.
    """
    adaptation = bundle.spec.adaptation
    if profile.emotion is None:
        return profile
    if adaptation is None or adaptation.neutral_mean is None:
        raise ProfileError(
            f"the profile is of neutral clips, and the model {bundle.spec.name!r} knows no neutral speech"
        )
    moved = [
        None if mean is None else mean - neutral + overall
        for mean, neutral, overall in zip(profile.mean, adaptation.neutral_mean, adaptation.mean, strict=True)
    ]
    return replace(profile, mean=tuple(moved), emotion=None)


def _features_of(bundle: Bundle) -> Features:
    if bundle.normalizer is not None and bundle.spec.input.features is not None:
        return bundle.spec.input.features
    if bundle.spec.adaptation is not None:
        return Features(set=EMBEDDING, digest=bundle.spec.sha256)
    raise ProfileError(
        f"the model {bundle.spec.name!r} cannot use a voice profile: it was not trained for one. Leave "
        "the profile out, or use a model that adapts (docs/enrolment.md)"
    )


def _n_columns(bundle: Bundle) -> int:
    if bundle.normalizer is not None:
        return bundle.normalizer.n_columns
    return 0 if bundle.spec.adaptation is None else len(bundle.spec.adaptation.mean)


def _describe(features: Features, n_columns: int) -> str:
    return f"{n_columns} columns of {features.set!r} ({features.digest[:12]})"


def _without_nan(values: Doubles) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(value) else value for value in values.tolist())


def _explain(error: Exception) -> object:
    return (error.strerror if isinstance(error, OSError) else None) or error
