"""What is known of one voice: statistics of its features, which a model may be told. Never its sound.

::

    profile = model.enroll(["me1.wav", "me2.wav"])     # unlabelled; the more varied, the better
    profile.save("me.json")
    model.predict("clip.wav", profile=Profile.load("me.json"))

A profile holds, for every column of the model's features, how many clips had a value, their mean and their
variance. It is bound to the features that it was made of; nothing in it names an emotion.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emovox._arrays import Doubles, Floats
from emovox._files import replaced
from emovox.bundles import Bundle, Features
from emovox.bundles.record import Record, parsed
from emovox.bundles.spec import LARGEST
from emovox.errors import ProfileError

if TYPE_CHECKING:
    from emovox.features.normalization import SpeakerNormaliser, StandardNormaliser

__all__ = ["MAX_PROFILE_BYTES", "SCHEMA", "Enrolment", "Profile", "enrolment_for", "voice_of"]

SCHEMA = 1
"""Version of the file that this code writes and reads."""

MAX_PROFILE_BYTES = 1 << 23
"""A profile of 6373 columns has 0.4 MB; a larger file than this is not one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile(Record):
    """Statistics of one voice. Immutable; `Recognizer.enroll` makes it.

    Raises:
        ValueError: the values contradict each other; the message names the key.
    """

    schema: int = SCHEMA
    model: str
    """Name and version of the model that it was made with, for people."""
    features: Features
    """What the columns are. A model on other features refuses the profile."""
    n_clips: int
    seconds: float
    """Length of the clips together."""
    counts: tuple[int, ...]
    """Clips in which the column had a value."""
    mean: tuple[float | None, ...]
    """``None`` where no clip had one."""
    variance: tuple[float | None, ...]
    """Divided by the count; ``None`` where no clip had a value."""

    def _agree(self) -> None:
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

    def merged(self, other: Profile) -> Profile:
        """The profile of the clips of both, as if they had been enrolled together.

        Raises:
            ProfileError: they are of different features.
        """
        if self.features != other.features:
            raise ProfileError(
                f"a profile of {other.features.set!r} cannot be added to one of {self.features.set!r}: "
                "enroll both with the same model"
            )
        sums = Enrolment(self.model, self.features, past=self)
        sums.add(other)
        return sums.profile()

    def to_json(self) -> str:
        """The text of a profile's file, one line; no sound, no name of a file."""
        return json.dumps(self.to_dict(), allow_nan=False, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: bytes | str) -> Profile:
        """Read what `to_json` gave.

        Raises:
            ProfileError: it is no profile; the message says what is wrong with it.
        """
        try:
            return cls.from_dict(parsed(text.encode() if isinstance(text, str) else text))
        except ValueError as error:
            raise ProfileError(f"it is no voice profile: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to the file ``path``, whole or not at all; one that is there is replaced.

        Raises:
            ProfileError: it cannot be written.
        """
        file = Path(path)
        if not file.parent.is_dir():  # a typo makes no folders
            raise ProfileError(f"{file} cannot be written: there is no folder {str(file.parent)!r}")
        try:
            with replaced(file) as half:
                half.write_text(self.to_json(), encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ProfileError(f"{file} cannot be written: {_reason(error)}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read the file ``path``.

        Raises:
            ProfileError: it cannot be read, or is no profile.
        """
        try:
            return cls.from_json(_bounded(Path(path)))
        except ProfileError as error:
            raise ProfileError(f"{os.fspath(path)}: {error}") from None
        except (OSError, ValueError) as error:
            raise ProfileError(f"{os.fspath(path)} cannot be read: {_reason(error)}") from error


class Enrolment:
    """Takes the rows of one voice one after the other, and keeps nothing of them but sums.

    Source: the update of mean and sum of squares by Chan, Golub and LeVeque (1983), "Algorithms for computing
    the sample variance".

    Args:
        model: what the profile says of the model that made it.
        features: what the columns are.
        past: what is known of the voice already.
    """

    def __init__(self, model: str, features: Features, *, past: Profile | None = None) -> None:
        self._model, self._features = model, features
        self.n_clips = 0
        self.seconds = 0.0
        self._counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._mean: Doubles = np.zeros(0)
        self._squares: Doubles = np.zeros(0)
        """Sums of squared distances from the mean."""
        if past is not None:
            self.add(past)

    def push(self, row: Floats, seconds: float) -> None:
        """Take the features ``(d,)`` of one clip of that length; nan is missing."""
        known = np.abs(row) <= LARGEST  # neither nan nor infinite
        counts, mean = known.astype(np.int64), np.where(known, row, 0.0).astype(np.float64)
        self._merge(1, seconds, counts, mean, np.zeros(len(row)))

    def add(self, other: Profile) -> None:
        """Take all that a profile of the same features knows."""
        counts = np.array(other.counts, np.int64)
        mean, variance = (_filled(values) for values in (other.mean, other.variance))
        self._merge(other.n_clips, other.seconds, counts, mean, variance * counts)

    def _merge(
        self, n_clips: int, seconds: float, counts: NDArray[np.int64], mean: Doubles, squares: Doubles
    ) -> None:
        if not n_clips:
            return
        if not self.n_clips:
            self._counts, self._mean, self._squares = counts, mean, squares
        else:
            total = self._counts + counts
            share = counts / np.maximum(total, 1)
            apart = mean - self._mean
            self._squares = self._squares + squares + apart**2 * self._counts * share
            self._mean = np.where(self._counts > 0, self._mean + apart * share, mean)
            self._counts = total
        self.n_clips += n_clips
        self.seconds += seconds

    @property
    def statistics(self) -> tuple[Doubles, Doubles, Doubles]:
        """Counts, means and variances ``(d,)`` float64; nan where no clip had a value."""
        known = self._counts > 0
        divisor = np.where(known, self._counts, 1)
        mean, variance = (np.where(known, x, np.nan) for x in (self._mean, self._squares / divisor))
        return self._counts.astype(np.float64), mean, variance

    def profile(self) -> Profile:
        """What is known so far."""
        counts, mean, variance = self.statistics
        return Profile(
            model=self._model,
            features=self._features,
            n_clips=self.n_clips,
            seconds=self.seconds,
            counts=tuple(int(count) for count in counts),
            mean=_told(mean),
            variance=_told(variance),
        )


def enrolment_for(bundle: Bundle, past: Profile | None = None) -> Enrolment:
    """An enrolment of a voice for that model: empty, or going on from ``past``.

    Raises:
        ProfileError: the model can use none, or ``past`` is of other features.
    """
    _, features = _usable(bundle)
    if past is not None:
        _same(bundle, past)
    return Enrolment(f"{bundle.spec.name} {bundle.spec.version}", features, past=past)


def voice_of(bundle: Bundle, known: Profile | Enrolment) -> StandardNormaliser:
    """How the rows of that voice are normalised for the model: its statistics, drawn to the population's.

    Raises:
        ProfileError: the model can use none, or the profile is of other features.
    """
    normaliser, _ = _usable(bundle)
    sums = enrolment_for(bundle, known) if isinstance(known, Profile) else known
    return normaliser.shrink(*sums.statistics) if sums.n_clips else normaliser.population


def _usable(bundle: Bundle) -> tuple[SpeakerNormaliser, Features]:
    features = bundle.spec.input.features
    if bundle.normaliser is None or features is None:
        raise ProfileError(
            f"the model {bundle.spec.name!r} cannot use a voice profile: it was not trained for one. Leave "
            "the profile out, or use a model with a speaker normaliser (docs/enrolment.md)"
        )
    return bundle.normaliser, features


def _same(bundle: Bundle, profile: Profile) -> None:
    normaliser, features = _usable(bundle)
    if profile.features != features or len(profile.counts) != normaliser.n_columns:
        raise ProfileError(
            f"the profile is of {_named(profile.features, len(profile.counts))}, the model "
            f"{bundle.spec.name!r} takes {_named(features, normaliser.n_columns)}: enroll the voice again "
            "with this model"
        )


# ---------------------------------------------------------------------------------------------- helpers


def _named(features: Features, n_columns: int) -> str:
    return f"{n_columns} columns of {features.set!r} ({features.digest})"


def _filled(values: Sequence[float | None]) -> Doubles:
    return np.array([0.0 if value is None else value for value in values], np.float64)


def _told(values: Doubles) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(value) else value for value in values.tolist())


def _bounded(file: Path) -> bytes:
    about = file.stat()
    if not stat.S_ISREG(about.st_mode):  # a FIFO would block for ever
        raise ProfileError("it is not a regular file")
    if about.st_size > MAX_PROFILE_BYTES:
        raise ProfileError(f"it has {about.st_size} bytes, at most {MAX_PROFILE_BYTES} are accepted")
    with file.open("rb") as stream:
        return stream.read(MAX_PROFILE_BYTES)


def _reason(error: Exception) -> Any:
    return (error.strerror if isinstance(error, OSError) else None) or error
