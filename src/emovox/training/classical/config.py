"""Settings of a classical model, checked on creation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from emovox.errors import ConfigError, did_you_mean
from emovox.training.classical.estimators import Estimator, find_estimator
from emovox.training.classical.preprocessing import SCALERS
from emovox.training.classical.selection import Selection

__all__ = ["ClassicalConfig"]

_RESAMPLE = (None, "over", "under")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicalConfig:
    """A classifier, its preprocessing, and how classes are balanced.

    Raises:
        ConfigError: a value is unknown or out of range; the message names the nearest.
        MissingExtraError: the model needs an extra that is not installed.
    """

    model: str
    """A key of `ESTIMATORS`."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that differ from the estimator's defaults."""
    scaler: str | None = None
    """``standard``, ``robust``, ``quantile`` or ``none``; ``None``: standard, and none for trees."""
    clip: float | None = 8.0
    """Limit in standard deviations after the scalers ``standard`` and ``robust``; ``None`` for none."""
    select: Selection | None = None
    class_weight: str | None = None
    """``balanced``: every class has the same total weight."""
    resample: str | None = None
    """``over`` repeats clips of rarer classes; ``under`` drops clips of more frequent ones."""
    calibrate: bool = True
    """Calibrate the scores of models without probabilities; without it they only predict classes."""
    calibration_folds: int = 3
    """Speaker-disjoint folds of the training, for calibration and stacking."""
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
        if self.class_weight and not estimator.supports_weights:
            raise ConfigError(
                f"{self.model} does not support weights: use resample: over instead of class_weight: balanced"
            )
        if self.class_weight and self.resample:
            raise ConfigError("class_weight and resample both balance the classes; expected one of them")

    @property
    def estimator(self) -> Estimator:
        """The entry of `ESTIMATORS`."""
        return find_estimator(self.model)

    @property
    def scaling(self) -> str:
        """The scaler in use: the given one, or the default of the model."""
        return self.scaler or ("standard" if self.estimator.needs_scaling else "none")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Create from plain JSON or YAML types, as `to_dict` returns them.

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
        """Return plain types, for JSON or YAML."""
        return asdict(self)


def _expect(what: str, value: Any, known: Any) -> None:
    if value in known:
        return
    words = [str(one) for one in known if one is not None]
    raise ConfigError(f"unknown {what} {value!r}; {did_you_mean(value, words)}")
