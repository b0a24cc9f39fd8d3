"""What a classical model is made with, checked when it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from emovox.errors import ConfigError, did_you_mean
from emovox.training.classical.estimators import Estimator, find_estimator
from emovox.training.classical.preparing import SCALERS
from emovox.training.classical.selection import Selection

__all__ = ["ClassicalConfig"]

_RESAMPLE = (None, "over", "under")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicalConfig:
    """A classifier, and what happens to the columns and the clips before it.

    Raises:
        ConfigError: a value is unknown or out of range; the message names the nearest.
        MissingExtraError: the model needs an extra that is not installed.
    """

    model: str
    """One of `ESTIMATORS`."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Over the estimator's defaults."""
    scaler: str | None = None
    """``standard``, ``robust``, ``quantile`` or ``none``; ``None``: standard where scale matters."""
    clip: float | None = 8.0
    """Standard deviations, after the scalers ``standard`` and ``robust``."""
    select: Selection | None = None
    class_weight: str | None = None
    """``balanced``: each class counts the same in sum."""
    resample: str | None = None
    """``over``: clips of rarer classes are repeated; ``under``: clips of commoner classes are left out."""
    calibrate: bool = True
    """Make probabilities of scores where a model has none; quicker without, but then it only predicts."""
    calibration_folds: int = 3
    """Speaker-disjoint parts of the training, for calibration and stacking."""
    seed: int = 0
    n_jobs: int = 1

    def __post_init__(self) -> None:
        estimator = find_estimator(self.model)
        estimator.make(**self.params)
        _expect("scaler", self.scaler, (None, *SCALERS))
        _expect("class_weight", self.class_weight, (None, "balanced"))
        _expect("resample", self.resample, _RESAMPLE)
        if self.clip is not None and not self.clip > 0:
            raise ConfigError(f"clip is {self.clip}; expected standard deviations over 0, or nothing")
        if self.calibration_folds < 2:
            raise ConfigError(f"calibration_folds is {self.calibration_folds}; expected at least 2")
        if self.class_weight and not estimator.weighs:
            raise ConfigError(
                f"{self.model} cannot weigh clips: write resample: over instead of class_weight: balanced"
            )
        if self.class_weight and self.resample:
            raise ConfigError("class_weight and resample both balance the classes; expected one of them")

    @property
    def estimator(self) -> Estimator:
        """The entry of the table."""
        return find_estimator(self.model)

    @property
    def scaling(self) -> str:
        """The scaler that is used: the one asked for, or the one that suits the model."""
        return self.scaler or ("standard" if self.estimator.scales else "none")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Of plain JSON or YAML types, as `to_dict` gives them.

        Raises:
            ConfigError: a key is unknown; the message names the nearest.
        """
        known = [one.name for one in fields(cls)]
        for name in values:
            _expect("key", name, known)
        given = dict(values)
        if isinstance(given.get("select"), Mapping):
            for name in given["select"]:
                _expect("key of select", name, [one.name for one in fields(Selection)])
            given["select"] = Selection(**given["select"])
        try:
            return cls(**given)
        except TypeError as error:  # no model, or a value of another type
            raise ConfigError(f"the model's configuration cannot be read: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON or YAML."""
        return asdict(self)


def _expect(what: str, value: Any, known: Any) -> None:
    if value in known:
        return
    words = [str(one) for one in known if one is not None]
    raise ConfigError(f"unknown {what} {value!r}; {did_you_mean(value, words)}")
