"""The sections of an experiment: every setting is a field with a type and a default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from emovox.errors import ConfigError

if TYPE_CHECKING:
    from emovox.augment.clips import ClipAugmentation

__all__ = [
    "MODELS",
    "AugmentConfig",
    "ClassicalModel",
    "ComparisonConfig",
    "Config",
    "FeatureConfig",
    "NetModel",
    "SelectionConfig",
    "TrainingConfig",
    "TuneConfig",
    "WindowConfig",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureConfig:
    """Which numbers describe a clip: see ``emovox features --list``."""

    set: str = "emovox-core"
    overrides: dict[str, Any] = field(default_factory=dict)
    """Parameters of the set's own, such as ``mfcc.n_mfcc: 13``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """Changed copies of the training's clips, and of no others; none without steps."""

    copies: int = 1
    """Of each clip, beside it as it is."""
    steps: tuple[dict[str, Any], ...] = ()
    """Rows of ``kind``, ``share`` and the settings of the kind: see `emovox.augment.Pipeline.from_list`."""

    def __post_init__(self) -> None:
        if not 0 <= self.copies <= 100:
            raise ConfigError(f"augment.copies is {self.copies}; expected 0 to 100")


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionConfig:
    """Which columns stay: exactly one of count, ratio and threshold is given."""

    method: str
    count: int | None = None
    ratio: float | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicalModel:
    """An estimator of `emovox.training.classical` and what stands before it."""

    kind: str = "classical"
    name: str = "logistic-regression"
    params: dict[str, Any] = field(default_factory=dict)
    """Of the estimator, where they differ from its defaults."""
    scaler: str | None = None
    """``standard``, ``robust``, ``quantile`` or ``none``; ``None``: what suits the estimator."""
    clip: float | None = 8.0
    """Scaled values further out, in standard deviations, are cut to this."""
    select: SelectionConfig | None = None
    class_weight: str | None = None
    """``balanced``: each class counts the same in sum."""
    resample: str | None = None
    """``over`` repeats clips of rarer classes, ``under`` leaves out clips of commoner ones."""
    calibration_folds: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NetModel:
    """A net of `emovox.nets.registry`; how it is taught stands in ``train``."""

    kind: str = "net"
    name: str = "gru"
    params: dict[str, Any] = field(default_factory=dict)
    """Of the net, where they differ from its defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How a net is taught.

    Raises:
        ConfigError: a value is out of its range.
    """

    epochs: int = 60
    """At most."""
    patience: int = 15
    """Epochs without a better UAR on validation speakers after which it ends."""
    batch_size: int = 32
    learning_rate: float = 1e-3
    """The highest."""
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    warm_up: float = 0.1
    """Share of all steps in which the learning rate climbs; with ``cosine`` none."""
    weight_decay: float = 0.01
    gradient_norm: float = 1.0
    """Gradients longer than this are shortened."""
    balance: Literal["draws", "weights", "none"] = "draws"
    """Labels count alike: by how often their clips are drawn, by what those weigh, or not."""
    label_smoothing: float = 0.1
    mixup: float = 0.0
    """Of the Beta distribution of shares; 0 for none."""
    mask_time: float = 0.0
    """SpecAugment: longest hidden stretch as a share of a clip; 0 for none."""
    mask_columns: float = 0.0
    """SpecAugment: widest hidden stretch as a share of the columns; 0 for none."""
    crop: int = 0
    """Frames (samples of a net on waveforms) of a random stretch of longer clips; 0 for all."""
    clean: float = 0.25
    """Share of draws from clips as they are, where there are augmented ones."""
    ema: float = 0.0
    """Decay of the average of weights that is judged and kept; 0 for none."""
    precision: Literal["float32", "bf16"] = "float32"
    device: Literal["auto", "cpu", "gpu"] = "cpu"
    tensorboard: bool = True

    def __post_init__(self) -> None:
        for name, (low, high) in _TRAINING.items():
            if not low <= getattr(self, name) <= high:  # nan is in no range
                raise ConfigError(f"train.{name} is {getattr(self, name)}; expected {low:g} to {high:g}")


_TRAINING: Mapping[str, tuple[float, float]] = {
    "epochs": (1, 1e6),
    "patience": (1, 1e6),
    "batch_size": (2, 1e6),
    "learning_rate": (1e-9, 10),
    "warm_up": (0, 0.99),
    "weight_decay": (0, 10),
    "gradient_norm": (1e-9, 1e9),
    "label_smoothing": (0, 1),
    "mixup": (0, 100),
    "mask_time": (0, 1),
    "mask_columns": (0, 1),
    "crop": (0, 1e9),
    "clean": (0, 1),
    "ema": (0, 0.999999),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowConfig:
    """How the finished model listens: seconds."""

    window_s: float = 3.0
    hop_s: float = 1.0
    min_s: float = 0.3
    clip_s: float = 12.0
    """Sound up to this long is judged as one clip, as in training; longer sound by windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneConfig:
    """How settings are searched for."""

    method: Literal["random", "halving", "optuna"] = "random"
    draws: int = 20
    inner_folds: int = 3
    """Speaker-disjoint folds inside the training part; of a net, where no clips validate."""
    space: dict[str, Any] = field(default_factory=dict)
    """Setting -> a list of values, or ``{low, high, log}``; unless given, the model's own space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One model to train, or to search settings for."""

    name: str = "model"
    """What the bundle is called."""
    data: tuple[str, ...] = ()
    """Manifests, tables, trees or folders of corpora."""
    labels: str = "all"
    """``all``, ``common`` (to all corpora), a label map (9, 7, 6, 4), or emotions with commas between."""
    protocol: str | None = None
    """Names one split; ``None``: the data's own parts, else a fifth of the speakers is tested."""
    features: FeatureConfig = field(default_factory=FeatureConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ClassicalModel | NetModel = field(default_factory=ClassicalModel)
    train: TrainingConfig = field(default_factory=TrainingConfig)
    """For nets alone."""
    windows: WindowConfig = field(default_factory=WindowConfig)
    coverage: float = 0.9
    """Share of the validation clips that get an answer, the least sure being ``uncertain``; 1: all."""
    tune: TuneConfig = field(default_factory=TuneConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.coverage <= 1:
            raise ConfigError(f"coverage is {self.coverage}; expected a share over 0, at most 1")
        _check_seed(self.seed)

    def augmentation(self) -> ClipAugmentation | None:
        """Return how training clips are augmented, or ``None``.

        Raises:
            ConfigError: a step of ``augment`` is wrong.
        """
        from emovox.augment.clips import make_augmentation

        return make_augmentation(self.augment.steps, n_versions=self.augment.copies, seed=self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonConfig:
    """Many systems under the same folds."""

    data: tuple[str, ...] = ()
    labels: str = "all"
    protocols: tuple[str, ...] = ("emobox",)
    features: tuple[str, ...] = ("emovox-core",)
    models: tuple[str, ...] = ("all",)
    params: dict[str, Any] = field(default_factory=dict)
    """Estimator -> its parameters, where they differ from its defaults."""
    scaler: str | None = None
    clip: float | None = 8.0
    class_weight: str | None = None
    """``balanced``: every emotion counts the same, in the estimators that can weigh clips."""
    selection: str = "anova"
    """How estimators that are slow on many columns get the few that they can take, in each training part."""
    search: tuple[str, ...] = ()
    """Estimators whose settings are searched for inside each training part."""
    tune: TuneConfig = field(default_factory=TuneConfig)
    refit: bool = True
    """Once a system is chosen, all are fitted again on training and validation part together."""
    seed: int = 0

    def __post_init__(self) -> None:
        _check_seed(self.seed)


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:  # what NumPy and scikit-learn take
        raise ConfigError(f"seed is {seed}; expected 0 to {2**32 - 1}")


MODELS: Mapping[str, type] = {"classical": ClassicalModel, "net": NetModel}
"""``model.kind`` -> the section that describes such a model."""
