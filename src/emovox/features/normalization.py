"""How are columns brought to one scale? Statistics of training rows only, kept with the model as JSON.

::

    scale = Standard.fit(train)                  # (n, d); nan is missing
    z = scale.transform(test)                    # (m, d) float32, nan where there was nan
    again = normaliser_from_dict(scale.to_dict())

`Standard`, `Robust` and `Quantile` know columns alone, and equal scikit-learn's. `SpeakerNormaliser` is
another kind, which a model has to declare: it has to be told whose row it is, at prediction too. Its
statistics of one voice, an enrolment, are a `Standard` like any other.
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
    "Quantile",
    "Robust",
    "SpeakerNormaliser",
    "Standard",
    "normaliser_from_dict",
]


SHRINKAGE = 5.0
"""Clips of a voice at which its own statistics weigh as much as the population's."""

_EPS = np.finfo(np.float64).eps


class Normaliser(Protocol):
    """What brings columns to one scale."""

    KIND: ClassVar[str]

    @property
    def n_columns(self) -> int:
        """How many columns a row has."""

    def transform(self, rows: ArrayLike) -> Floats:
        """``(n, d)`` or ``(d,)`` -> the same shape; nan stays nan."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; see `normaliser_from_dict`."""


@dataclass(frozen=True, eq=False)
class Standard:
    """Mean 0 and standard deviation 1 in each column, as scikit-learn's ``StandardScaler``.

    A column that was constant in training is only shifted. One that was missing throughout stays missing.
    """

    KIND: ClassVar[str] = "standard"
    mean: Doubles
    """``(d,)``."""
    std: Doubles
    """``(d,)``, of the population (divided by n); 0 where the column was constant."""

    @classmethod
    def fit(cls, rows: ArrayLike) -> Standard:
        """Of training rows ``(n, d)``.

        Raises:
            ConfigError: they are not ``(n, d)``, there are none, or a value is infinite.
        """
        x = _training(rows)
        n, mean, variance = _moments(x)
        # Below this the variance is rounding error alone: scikit-learn's bound, after Chan et al. 1983.
        constant = variance <= n * _EPS * variance + (n * mean * _EPS) ** 2
        return cls(mean, np.where(constant, 0.0, np.sqrt(variance)))

    @property
    def n_columns(self) -> int:
        return self.mean.size

    def transform(self, rows: ArrayLike) -> Floats:
        """``(n, d)`` or ``(d,)`` -> the same shape; nan stays nan.

        Raises:
            ConfigError: another number of columns than in training.
        """
        return _scaled(_fitting(rows, self.n_columns), self.mean, self.std)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"kind": self.KIND, "mean": _numbers(self.mean), "std": _numbers(self.std)}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Standard:
        """What ``to_dict`` gave.

        Raises:
            ConfigError: a field is missing, or is not a list of numbers.
        """
        return cls(*_columns(told, "mean", "std"))


@dataclass(frozen=True, eq=False)
class Robust:
    """Median 0 and distance of the quartiles 1 in each column, as scikit-learn's ``RobustScaler``."""

    KIND: ClassVar[str] = "robust"
    median: Doubles
    """``(d,)``."""
    spread: Doubles
    """``(d,)``: upper less lower quartile; 0 where they are the same, and the column is only shifted."""

    @classmethod
    def fit(cls, rows: ArrayLike) -> Robust:
        """Of training rows ``(n, d)``; errors as of `Standard.fit`."""
        low, median, high = _percentiles(_training(rows), np.array([25.0, 50.0, 75.0]))
        return cls(median, np.where(high - low < 10 * _EPS, 0.0, high - low))

    @property
    def n_columns(self) -> int:
        return self.median.size

    def transform(self, rows: ArrayLike) -> Floats:
        """As `Standard.transform`."""
        return _scaled(_fitting(rows, self.n_columns), self.median, self.spread)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"kind": self.KIND, "median": _numbers(self.median), "spread": _numbers(self.spread)}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Robust:
        """What ``to_dict`` gave; errors as of `Standard.from_dict`."""
        return cls(*_columns(told, "median", "spread"))


@dataclass(frozen=True, eq=False)
class Quantile:
    """The rank of a value among the training's, 0 to 1, as scikit-learn's ``QuantileTransformer``."""

    KIND: ClassVar[str] = "quantile"
    quantiles: Doubles
    """``(q, d)``, ascending, evenly spaced in rank."""

    @classmethod
    def fit(cls, rows: ArrayLike, *, n_quantiles: int = 1000) -> Quantile:
        """Of training rows ``(n, d)``; errors as of `Standard.fit`.

        Args:
            n_quantiles: 2 or more; no more are taken than there are rows.
        """
        x = _training(rows)
        if n_quantiles < 2:
            raise ConfigError(f"n_quantiles is {n_quantiles!r}; expected 2 or more")
        ranks = np.linspace(0, 100, max(2, min(n_quantiles, len(x))))
        return cls(np.maximum.accumulate(_percentiles(x, ranks)))  # interpolation may step back by a bit

    @property
    def n_columns(self) -> int:
        return int(self.quantiles.shape[1])

    def transform(self, rows: ArrayLike) -> Floats:
        """As `Standard.transform`."""
        x = _fitting(rows, self.n_columns)
        flat = x.reshape(-1, self.n_columns)
        columns = [_ranked(one, known) for one, known in zip(flat.T, self.quantiles.T, strict=True)]
        return np.stack(columns, axis=1).reshape(x.shape).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"kind": self.KIND, "quantiles": [_numbers(row) for row in self.quantiles]}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Quantile:
        """What ``to_dict`` gave; errors as of `Standard.from_dict`."""
        rows = told.get("quantiles")
        if not isinstance(rows, list) or len(rows) < 2:
            raise ConfigError(
                "a quantile normaliser has no 'quantiles'; expected two rows of numbers, or more"
            )
        names = [str(i) for i in range(len(rows))]
        return cls(np.stack(_columns(dict(zip(names, rows, strict=True)), *names)))


@dataclass(frozen=True, eq=False)
class SpeakerNormaliser:
    """Each voice by its own statistics, as far as there is enough of it.

    Mean and variance of a voice are drawn to the population's: with ``n`` clips its own have the weight
    ``n / (n + shrinkage)``, so that without any the population's are what is left. Emotions should be
    mixed in what a voice is enrolled with: of neutral clips alone less is gained.
    """

    KIND: ClassVar[str] = "speaker"
    population: Standard
    shrinkage: float = SHRINKAGE

    @classmethod
    def fit(cls, rows: ArrayLike, *, shrinkage: float = SHRINKAGE) -> SpeakerNormaliser:
        """Of training rows ``(n, d)`` of all speakers.

        Raises:
            ConfigError: as `Standard.fit`, or the shrinkage is not above 0.
        """
        return cls(Standard.fit(rows), _positive(shrinkage))

    @property
    def n_columns(self) -> int:
        return self.population.n_columns

    def enrolled(self, rows: ArrayLike) -> Standard:
        """The normaliser of one voice, of rows ``(n, d)`` of that voice; ``n`` may be 0.

        A column that was constant in training is shifted alone, whatever it does here.
        """
        return self.shrunken(*_moments(_fitting(rows, self.n_columns).reshape(-1, self.n_columns)))

    def shrunken(self, n: Doubles, mean: Doubles, variance: Doubles) -> Standard:
        """The normaliser of a voice of which statistics are kept.

        Args:
            n: ``(d,)`` clips in which the column had a value.
            mean: ``(d,)`` of these; not looked at where there are none.
            variance: ``(d,)``, divided by ``n``.
        """
        weight = n / (n + self.shrinkage)
        known = n > 0
        base = self.population
        means = np.where(known, weight * mean + (1 - weight) * base.mean, base.mean)
        variances = np.where(known, weight * variance + (1 - weight) * base.std**2, base.std**2)
        return Standard(means, np.where(base.std > 0, np.sqrt(variances), base.std))

    def transform(
        self,
        rows: ArrayLike,
        speakers: Sequence[Hashable],
        *,
        clips: int | Sequence[int] | None = None,
        seed: int = 0,
    ) -> Floats:
        """Rows ``(n, d)``, each by the voice it is of -> ``(n, d)``.

        Args:
            speakers: whose each row is, ``(n,)``.
            clips: of how many rows of a voice its statistics are made; of several numbers one is drawn
                for each voice, for a model that is to do with little as with much. All unless given.
            seed: of the draw of numbers and rows.

        Raises:
            ConfigError: as many speakers as rows are expected, and the columns of the training.
        """
        x = _fitting(rows, self.n_columns)
        if x.ndim != 2 or len(speakers) != len(x):
            raise ConfigError(f"got {len(speakers)} speakers for rows {x.shape}; expected one for each row")
        draw = np.random.default_rng(seed)
        z = np.empty(x.shape, np.float32)
        for speaker in dict.fromkeys(speakers):
            own = np.flatnonzero([one == speaker for one in speakers])
            known = own if clips is None else draw.permutation(own)[: int(draw.choice(np.atleast_1d(clips)))]
            z[own] = self.enrolled(x[known]).transform(x[own])
        return z

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"kind": self.KIND, "population": self.population.to_dict(), "shrinkage": self.shrinkage}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> SpeakerNormaliser:
        """What ``to_dict`` gave; errors as of `Standard.from_dict`."""
        population = told.get("population")
        if not isinstance(population, Mapping):
            raise ConfigError(
                "a speaker normaliser has no 'population'; expected a standard normaliser's fields"
            )
        return cls(Standard.from_dict(population), _positive(told.get("shrinkage")))


NORMALISERS: dict[str, type[Standard] | type[Robust] | type[Quantile]] = {
    one.KIND: one for one in (Standard, Robust, Quantile)
}
"""Name -> kind; those that know columns alone."""


def normaliser_from_dict(told: Mapping[str, Any]) -> Standard | Robust | Quantile:
    """The normaliser that ``to_dict`` described.

    Raises:
        ConfigError: no such kind, or its fields are not whole.
    """
    kind = told.get("kind")
    if not isinstance(kind, str) or kind not in NORMALISERS:
        raise ConfigError(f"the normaliser's kind is {kind!r}; expected one of {', '.join(NORMALISERS)}")
    return NORMALISERS[kind].from_dict(told)


# ------------------------------------------------------------------------------------------ columns


def _training(rows: ArrayLike) -> Doubles:
    x = np.asarray(rows, dtype=np.float64)
    if x.ndim != 2 or not x.size:
        raise ConfigError(f"the training rows have the shape {x.shape}; expected (n, d), neither of them 0")
    if np.isinf(x).any():
        raise ConfigError(
            "the training rows hold infinite values; expected finite ones, or nan where missing"
        )
    return x


def _fitting(rows: ArrayLike, n_columns: int) -> Doubles:
    x = np.asarray(rows, dtype=np.float64)
    if x.ndim not in (1, 2) or x.shape[-1] != n_columns:
        raise ConfigError(f"the rows have the shape {x.shape}; expected {n_columns} columns, as in training")
    return x


def _moments(x: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Count, mean and variance of what is there in each column; nan where nothing is."""
    there = ~np.isnan(x)
    n = there.sum(axis=0).astype(np.float64)
    divisor = np.where(n > 0, n, np.nan)
    mean = np.where(there, x, 0.0).sum(axis=0) / divisor
    off = np.where(there, x - mean, 0.0)
    # The second term is what rounding left of the mean (Chan et al. 1983).
    variance = ((off**2).sum(axis=0) - off.sum(axis=0) ** 2 / divisor) / divisor
    return n, mean, np.maximum(variance, 0.0)


def _percentiles(x: Doubles, ranks: Doubles) -> Doubles:
    """``(len(ranks), d)``; nan for a column in which nothing is there."""
    found = np.full((ranks.size, x.shape[1]), np.nan)
    known = ~np.isnan(x).all(axis=0)
    if known.any():
        found[:, known] = np.nanpercentile(x[:, known], ranks, axis=0)
    return found


def _scaled(x: Doubles, centre: Doubles, spread: Doubles) -> Floats:
    return ((x - centre) / np.where(spread == 0, 1.0, spread)).astype(np.float32)


def _ranked(x: Doubles, quantiles: Doubles) -> Doubles:
    """Ranks of ``x`` ``(n,)``; of a value that occurs often, the middle of its ranks."""
    ranks = np.linspace(0, 1, quantiles.size)
    z = np.full(x.shape, np.nan)
    there = ~np.isnan(x)
    if np.isnan(quantiles).all():
        return z
    known = x[there]
    up = np.interp(known, quantiles, ranks)
    down = -np.interp(-known, -quantiles[::-1], -ranks[::-1])
    middle = np.where(known == quantiles[-1], 1.0, 0.5 * (up + down))
    z[there] = np.where(known == quantiles[0], 0.0, middle)
    return z


# --------------------------------------------------------------------------------------------- JSON


def _numbers(values: Doubles) -> list[float | None]:
    return [None if math.isnan(v) else v for v in values.tolist()]


def _columns(told: Mapping[str, Any], *names: str) -> list[Doubles]:
    """Lists of numbers of one length, ``None`` as nan."""
    lacking = [name for name in names if not isinstance(told.get(name), list)]
    if lacking:
        raise ConfigError(f"a normaliser has no list {lacking[0]!r}; expected {', '.join(names)}")
    try:
        columns = [np.array(told[name], dtype=np.float64) for name in names]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a normaliser's {', '.join(names)} are no lists of numbers: {error}") from None
    if len({c.shape for c in columns}) != 1 or columns[0].ndim != 1:
        raise ConfigError(
            f"a normaliser's {', '.join(names)} have {[c.shape for c in columns]} numbers; "
            "expected as many each"
        )
    return columns


def _positive(shrinkage: Any) -> float:
    if isinstance(shrinkage, bool) or not isinstance(shrinkage, int | float) or not shrinkage > 0:
        raise ConfigError(f"the shrinkage is {shrinkage!r}; expected clips, more than 0")
    return float(shrinkage)
