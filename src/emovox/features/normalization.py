"""Normalisation of feature columns by statistics of the training rows, stored with the model as JSON.

::

    scale = StandardNormaliser.fit(train)                  # (n, d); nan is missing
    z = scale.transform(test)                    # (m, d) float32, nan where there was nan
    again = normaliser_from_dict(scale.to_dict())

`StandardNormaliser`, `RobustNormaliser` and `QuantileNormaliser` work on columns alone, and equal
scikit-learn's. `SpeakerNormaliser` also needs the speaker of each row, at prediction too, so that a model has
to declare it. The statistics of one speaker, an enrolment, are a `StandardNormaliser` like any other.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Doubles, Floats
from emovox.errors import ConfigError

__all__ = [
    "NORMALISERS",
    "SHRINKAGE",
    "Normaliser",
    "QuantileNormaliser",
    "RobustNormaliser",
    "SpeakerNormaliser",
    "StandardNormaliser",
    "normaliser_from_dict",
]


SHRINKAGE = 5.0
"""Clips of a speaker at which their own statistics have the same weight as the population's."""

_EPS = np.finfo(np.float64).eps


class Normaliser(Protocol):
    """A normaliser that works on columns alone."""

    KIND: ClassVar[str]

    @property
    def n_columns(self) -> int:
        """Number of columns of a row."""

    def transform(self, rows: ArrayLike) -> Floats:
        """Normalise ``(n, d)`` or ``(d,)``; nan stays nan."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; see `normaliser_from_dict`."""


@dataclass(frozen=True, eq=False)
class StandardNormaliser:
    """Scale each column to mean 0 and standard deviation 1, as scikit-learn's ``StandardScaler``.

    A column that was constant in training is only shifted. One that was missing throughout stays missing.
    """

    KIND: ClassVar[str] = "standard"
    mean: Doubles
    """``(d,)``."""
    std: Doubles
    """``(d,)``, of the population (divided by n); 0 where the column was constant."""

    @classmethod
    def fit(cls, rows: ArrayLike) -> StandardNormaliser:
        """Fit to training rows ``(n, d)``.

        Raises:
            ConfigError: they are not ``(n, d)``, there are none, or a value is infinite.
        """
        x = _check_training(rows)
        n, mean, variance = _column_moments(x)
        # Below this the variance is only rounding error: scikit-learn's bound, after Chan et al. 1983.
        constant = variance <= n * _EPS * variance + (n * mean * _EPS) ** 2
        return cls(mean, np.where(constant, 0.0, np.sqrt(variance)))

    @property
    def n_columns(self) -> int:
        return self.mean.size

    def transform(self, rows: ArrayLike) -> Floats:
        """Normalise ``(n, d)`` or ``(d,)``; nan stays nan.

        Raises:
            ConfigError: another number of columns than in training.
        """
        return _scale(_check_columns(rows, self.n_columns), self.mean, self.std)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"kind": self.KIND, "mean": _to_json(self.mean), "std": _to_json(self.std)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StandardNormaliser:
        """Make the normaliser from the result of ``to_dict``.

        Raises:
            ConfigError: a field is missing, or is not a list of numbers.
        """
        return cls(*_read_columns(data, "mean", "std"))


@dataclass(frozen=True, eq=False)
class RobustNormaliser:
    """Scale each column to median 0 and interquartile range 1, as scikit-learn's ``RobustScaler``."""

    KIND: ClassVar[str] = "robust"
    median: Doubles
    """``(d,)``."""
    spread: Doubles
    """``(d,)``: upper less lower quartile; 0 where they are the same, and the column is only shifted."""

    @classmethod
    def fit(cls, rows: ArrayLike) -> RobustNormaliser:
        """Fit to training rows ``(n, d)``; errors as of `StandardNormaliser.fit`."""
        low, median, high = _percentiles(_check_training(rows), np.array([25.0, 50.0, 75.0]))
        return cls(median, np.where(high - low < 10 * _EPS, 0.0, high - low))

    @property
    def n_columns(self) -> int:
        return self.median.size

    def transform(self, rows: ArrayLike) -> Floats:
        """As `StandardNormaliser.transform`."""
        return _scale(_check_columns(rows, self.n_columns), self.median, self.spread)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"kind": self.KIND, "median": _to_json(self.median), "spread": _to_json(self.spread)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RobustNormaliser:
        """Make the normaliser from the result of ``to_dict``; errors as of `StandardNormaliser.from_dict`."""
        return cls(*_read_columns(data, "median", "spread"))


@dataclass(frozen=True, eq=False)
class QuantileNormaliser:
    """Replace values by their rank in training, 0 to 1, as scikit-learn's ``QuantileTransformer``."""

    KIND: ClassVar[str] = "quantile"
    quantiles: Doubles
    """``(q, d)``, ascending, evenly spaced in rank."""

    @classmethod
    def fit(cls, rows: ArrayLike, *, n_quantiles: int = 1000) -> QuantileNormaliser:
        """Fit to training rows ``(n, d)``; errors as of `StandardNormaliser.fit`.

        Args:
            rows: of the training.
            n_quantiles: 2 or more; limited to the number of rows.
        """
        x = _check_training(rows)
        if n_quantiles < 2:
            raise ConfigError(f"n_quantiles is {n_quantiles!r}; expected 2 or more")
        ranks = np.linspace(0, 100, max(2, min(n_quantiles, len(x))))
        return cls(
            np.maximum.accumulate(_percentiles(x, ranks))
        )  # interpolation may decrease by a rounding error

    @property
    def n_columns(self) -> int:
        return int(self.quantiles.shape[1])

    def transform(self, rows: ArrayLike) -> Floats:
        """As `StandardNormaliser.transform`."""
        x = _check_columns(rows, self.n_columns)
        flat = x.reshape(-1, self.n_columns)
        columns = [_rank(one, known) for one, known in zip(flat.T, self.quantiles.T, strict=True)]
        return np.stack(columns, axis=1).reshape(x.shape).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"kind": self.KIND, "quantiles": [_to_json(row) for row in self.quantiles]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> QuantileNormaliser:
        """Make the normaliser from the result of ``to_dict``; errors as of `StandardNormaliser.from_dict`."""
        rows = data.get("quantiles")
        if not isinstance(rows, list) or len(rows) < 2:
            raise ConfigError(
                "a quantile normaliser has no 'quantiles'; expected two rows of numbers, or more"
            )
        names = [str(i) for i in range(len(rows))]
        return cls(np.stack(_read_columns(dict(zip(names, rows, strict=True)), *names)))


@dataclass(frozen=True, eq=False)
class SpeakerNormaliser:
    """Normalise each speaker by their own statistics, as far as there are enough clips.

    Mean and variance of a speaker are shrunk to the population's: with ``n`` clips their own have the weight
    ``n / (n + shrinkage)``, without any clip the population's remain. The clips of an enrolment should have
    mixed emotions: neutral clips alone gain less.
    """

    KIND: ClassVar[str] = "speaker"
    population: StandardNormaliser
    shrinkage: float = SHRINKAGE

    @classmethod
    def fit(cls, rows: ArrayLike, *, shrinkage: float = SHRINKAGE) -> SpeakerNormaliser:
        """Fit to training rows ``(n, d)`` of all speakers.

        Raises:
            ConfigError: as `StandardNormaliser.fit`, or the shrinkage is not above 0.
        """
        return cls(StandardNormaliser.fit(rows), _check_shrinkage(shrinkage))

    @property
    def n_columns(self) -> int:
        return self.population.n_columns

    def enroll(self, rows: ArrayLike) -> StandardNormaliser:
        """Make the normaliser of one speaker from their rows ``(n, d)``; ``n`` may be 0.

        A column that was constant in training is only shifted.
        """
        return self.shrink(*_column_moments(_check_columns(rows, self.n_columns).reshape(-1, self.n_columns)))

    def shrink(self, n: Doubles, mean: Doubles, variance: Doubles) -> StandardNormaliser:
        """Make the normaliser of a speaker from stored statistics.

        Args:
            n: ``(d,)`` clips in which the column had a value.
            mean: ``(d,)`` of these; ignored where there are none.
            variance: ``(d,)``, divided by ``n``.
        """
        weight = n / (n + self.shrinkage)
        known = n > 0
        base = self.population
        means = np.where(known, weight * mean + (1 - weight) * base.mean, base.mean)
        variances = np.where(known, weight * variance + (1 - weight) * base.std**2, base.std**2)
        return StandardNormaliser(means, np.where(base.std > 0, np.sqrt(variances), base.std))

    def transform(
        self,
        rows: ArrayLike,
        speakers: Sequence[Hashable],
        *,
        clips: int | Sequence[int] | None = None,
        seed: int = 0,
    ) -> Floats:
        """Normalise rows ``(n, d)``, each by the statistics of its speaker.

        Args:
            rows: ``(n, d)``.
            speakers: the speaker of each row, ``(n,)``.
            clips: number of rows for the statistics of a speaker; of several numbers one is drawn for each
                speaker, so that a model learns to work with few and many. All rows unless given.
            seed: of the draw of numbers and rows.

        Raises:
            ConfigError: the number of speakers is not that of the rows, or the number of columns not that of
                the training.
        """
        x = _check_columns(rows, self.n_columns)
        if x.ndim != 2 or len(speakers) != len(x):
            raise ConfigError(f"got {len(speakers)} speakers for rows {x.shape}; expected one for each row")
        draw = np.random.default_rng(seed)
        z = np.empty(x.shape, np.float32)
        for speaker in dict.fromkeys(speakers):
            own = np.flatnonzero([one == speaker for one in speakers])
            known = own if clips is None else draw.permutation(own)[: int(draw.choice(np.atleast_1d(clips)))]
            z[own] = self.enroll(x[known]).transform(x[own])
        return z

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"kind": self.KIND, "population": self.population.to_dict(), "shrinkage": self.shrinkage}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SpeakerNormaliser:
        """Make the normaliser from the result of ``to_dict``; errors as of `StandardNormaliser.from_dict`."""
        population = data.get("population")
        if not isinstance(population, Mapping):
            raise ConfigError(
                "a speaker normaliser has no 'population'; expected a standard normaliser's fields"
            )
        return cls(StandardNormaliser.from_dict(population), _check_shrinkage(data.get("shrinkage")))


NORMALISERS: dict[str, type[StandardNormaliser] | type[RobustNormaliser] | type[QuantileNormaliser]] = {
    one.KIND: one for one in (StandardNormaliser, RobustNormaliser, QuantileNormaliser)
}
"""Name -> class of the normalisers that work on columns alone."""


def normaliser_from_dict(
    data: Mapping[str, Any],
) -> StandardNormaliser | RobustNormaliser | QuantileNormaliser:
    """Make the normaliser from the result of its ``to_dict``.

    Raises:
        ConfigError: the kind is unknown, or a field is missing or invalid.
    """
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in NORMALISERS:
        raise ConfigError(f"the normaliser's kind is {kind!r}; expected one of {', '.join(NORMALISERS)}")
    return NORMALISERS[kind].from_dict(data)


# --- columns -----------------------------------------------------------------------------------------


def _check_training(rows: ArrayLike) -> Doubles:
    x = np.asarray(rows, dtype=np.float64)
    if x.ndim != 2 or not x.size:
        raise ConfigError(f"the training rows have the shape {x.shape}; expected (n, d), neither of them 0")
    if np.isinf(x).any():
        raise ConfigError(
            "the training rows hold infinite values; expected finite ones, or nan where missing"
        )
    return x


def _check_columns(rows: ArrayLike, n_columns: int) -> Doubles:
    x = np.asarray(rows, dtype=np.float64)
    if x.ndim not in (1, 2) or x.shape[-1] != n_columns:
        raise ConfigError(f"the rows have the shape {x.shape}; expected {n_columns} columns, as in training")
    return x


def _column_moments(x: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Count, mean and variance of the values of each column; nan without values."""
    valid = ~np.isnan(x)
    n = valid.sum(axis=0).astype(np.float64)
    divisor = np.where(n > 0, n, np.nan)
    mean = np.where(valid, x, 0.0).sum(axis=0) / divisor
    off = np.where(valid, x - mean, 0.0)
    # The second term corrects for the rounding of the mean (Chan et al. 1983).
    variance = ((off**2).sum(axis=0) - off.sum(axis=0) ** 2 / divisor) / divisor
    return n, mean, np.maximum(variance, 0.0)


def _percentiles(x: Doubles, ranks: Doubles) -> Doubles:
    """``(len(ranks), d)``; nan for a column without values."""
    found = np.full((ranks.size, x.shape[1]), np.nan)
    known = ~np.isnan(x).all(axis=0)
    if known.any():
        found[:, known] = np.nanpercentile(x[:, known], ranks, axis=0)
    return found


def _scale(x: Doubles, centre: Doubles, spread: Doubles) -> Floats:
    return ((x - centre) / np.where(spread == 0, 1.0, spread)).astype(np.float32)


def _rank(x: Doubles, quantiles: Doubles) -> Doubles:
    """Ranks of ``x`` ``(n,)``; of repeated values, the middle of their ranks."""
    ranks = np.linspace(0, 1, quantiles.size)
    z = np.full(x.shape, np.nan)
    valid = ~np.isnan(x)
    if np.isnan(quantiles).all():
        return z
    known = x[valid]
    up = np.interp(known, quantiles, ranks)
    down = -np.interp(-known, -quantiles[::-1], -ranks[::-1])
    middle = np.where(known == quantiles[-1], 1.0, 0.5 * (up + down))
    z[valid] = np.where(known == quantiles[0], 0.0, middle)
    return z


# --- JSON --------------------------------------------------------------------------------------------


def _to_json(values: Doubles) -> list[float | None]:
    return [None if math.isnan(v) else v for v in values.tolist()]


def _read_columns(data: Mapping[str, Any], *names: str) -> list[Doubles]:
    """Lists of numbers of one length, ``None`` as nan."""
    lacking = [name for name in names if not isinstance(data.get(name), list)]
    if lacking:
        raise ConfigError(f"a normaliser has no list {lacking[0]!r}; expected {', '.join(names)}")
    try:
        columns = [np.array(data[name], dtype=np.float64) for name in names]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a normaliser's {', '.join(names)} are no lists of numbers: {error}") from None
    if len({c.shape for c in columns}) != 1 or columns[0].ndim != 1:
        raise ConfigError(
            f"a normaliser's {', '.join(names)} have {[c.shape for c in columns]} numbers; "
            "expected as many each"
        )
    return columns


def _check_shrinkage(shrinkage: Any) -> float:
    if isinstance(shrinkage, bool) or not isinstance(shrinkage, int | float) or not shrinkage > 0:
        raise ConfigError(f"the shrinkage is {shrinkage!r}; expected clips, more than 0")
    return float(shrinkage)
