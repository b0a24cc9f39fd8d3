"""What a metric of a behavioural test gets, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from emovox.datasets.manifest import Manifest
from emovox.evaluation.predictions import Predictions

__all__ = ["Measurement", "Metric", "NotApplicable", "Row", "Sample", "TestSettings"]


class NotApplicable(Exception):
    """A test says nothing about this model or these clips; the message is the reason."""


class TestSettings(Protocol):
    """What a metric may read of a `BehaviourTest`."""

    @property
    def name(self) -> str:
        """The test's name."""

    @property
    def by(self) -> str | None:
        """How clips are divided into groups."""


@dataclass(frozen=True)
class Sample:
    """The clips of one test with their predictions, in the same order."""

    test: TestSettings
    clips: Manifest
    plain: Predictions
    """Of the clips as they are."""
    changed: Predictions
    """Of the changed clips; the same as ``plain`` where the test changes nothing."""

    @property
    def names(self) -> tuple[str, ...]:
        """Labels that could be predicted."""
        return self.plain.labels


@dataclass(frozen=True, slots=True)
class Row:
    """A part of a measurement, such as one label or one group."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n_clips: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Measurement:
    """The value that is compared with a limit."""

    value: float
    low: float | None = None
    """Ends of the 95 % interval over speakers; ``None`` under ten speakers."""
    high: float | None = None
    n_clips: int = 0
    n_speakers: int | None = None
    rows: Sequence[Row] = ()
    """What the value is made of."""
    limit: float | None = None
    """What chance alone reaches on these clips, of values that are better when lower: the limit is at least
    this, and is this for tests that state none."""


@dataclass(frozen=True, slots=True)
class Metric:
    """How a value is computed and in which direction it is better.

    ``function`` raises `NotApplicable` where the data do not allow it.
    """

    function: Callable[[Sample], Measurement]
    better: Literal["higher", "lower"]
    description: str
    needs_labels: bool = True
    needs_change: bool = False
    needs_groups: bool = False
    has_limit: bool = False
    """Whether its measurements bring a limit, so that tests may state none."""
