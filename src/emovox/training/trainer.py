"""What all trainers share: their protocol, and what they return.

Models learn from the training part alone. The validation part sets temperature and abstention, and of a net
the epoch that is kept. The test part is not used here: ``emovox.evaluation`` predicts it from the bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from emovox.bundles import Spec
from emovox.datasets.manifest import Manifest
from emovox.datasets.splits import Split
from emovox.training.calibration import Calibration
from emovox.training.config import Config
from emovox.training.inputs import SplitInputs

if TYPE_CHECKING:
    from emovox.training.search import SearchResult, Trial

__all__ = ["ExportedModel", "FittedModel", "Trainer"]


@dataclass(frozen=True, slots=True, eq=False)
class FittedModel:
    """A fitted estimator or net, with its calibration."""

    model: Any
    """`emovox.training.classical.Fitted`, or a net in evaluation mode."""
    labels: tuple[str, ...]
    calibration: Calibration
    validation_uar: float | None
    """``None`` without validation clips."""
    validation: Mapping[str, str]
    """id -> predicted label, of the validation clips."""
    notes: tuple[str, ...] = ()
    values: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """id -> predicted values, of the validation clips."""
    validation_ccc: Mapping[str, float | None] = field(default_factory=dict)
    """Target -> CCC on the validation clips; ``None`` where it is not defined."""


@dataclass(frozen=True, slots=True, eq=False)
class ExportedModel:
    """A model as `emovox.bundles.write_bundle` takes it, and facts about its training."""

    model: bytes
    """ONNX."""
    spec: Spec
    validation_uar: float | None
    selected: tuple[str, ...] | None
    """The selected columns, if there was a selection."""
    n_parameters: int
    """Weights of a net; all numbers in the graph of an estimator."""
    notes: tuple[str, ...] = ()
    validation_ccc: Mapping[str, float | None] = field(default_factory=dict)


class Trainer(Protocol):
    """Trains models with the settings of one config."""

    @property
    def config(self) -> Config:
        """The settings."""

    def identify(self) -> list[str]:
        """Name all that a fit depends on beside the clips: settings, resolved defaults, versions."""

    def check(self) -> None:
        """Check, before the work, that the settings are possible.

        Raises:
            ConfigError: a name is unknown or a value out of its range.
            MissingExtraError: the model needs an extra that is not installed.
        """

    def load(self, manifest: Manifest, split: Split, **options: Any) -> SplitInputs:
        """Load the clips of a split as the model takes them: see `emovox.training.inputs.load_inputs`."""

    def fit(
        self, inputs: SplitInputs, *, folder: Path | None = None, notify: Callable[[str], None] = ...
    ) -> FittedModel:
        """Fit on the training part, and calibrate on the validation part.

        Args:
            folder: for checkpoints; a training that was stopped there is resumed.
            notify: called with a line after each epoch.

        Raises:
            ConfigError: a setting is impossible, or there are too few clips.
            KeyboardInterrupt: the finished epochs are saved in ``folder``.
        """

    def export(self, fitted: FittedModel, inputs: SplitInputs) -> ExportedModel:
        """Write the model as ONNX, with its spec.

        Raises:
            BundleError: the model and the graph disagree.
        """

    def search(
        self, inputs: SplitInputs, *, study: Path | None = None, tell: Callable[[Trial], None] = ...
    ) -> SearchResult[Config]:
        """Search the settings of ``config.tune`` inside the training part.

        Args:
            study: where ``optuna`` keeps its trials, to resume from.
            tell: called after each trial.

        Raises:
            ConfigError: a setting is impossible, or there are too few speakers.
        """
