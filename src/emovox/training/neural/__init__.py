"""How a net is trained (extra ``train``).

``vectors`` fits a small net on rows of features in one go, as the default model's recipe does; ``trainer``
fits any net on clips, epoch by epoch, watched by validation speakers, and goes on where it was stopped.
"""

from emovox.training.neural.vectors import (
    HIDDEN_LOGIT,
    LEAST_DEVIATION,
    TrainConfig,
    TrainSet,
    balanced_weights,
    fit,
    label_mask,
    soft_targets,
)

__all__ = [
    "HIDDEN_LOGIT",
    "LEAST_DEVIATION",
    "TrainConfig",
    "TrainSet",
    "balanced_weights",
    "fit",
    "label_mask",
    "soft_targets",
]
