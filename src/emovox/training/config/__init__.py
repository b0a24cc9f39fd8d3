"""What an experiment is made of: read from YAML, changed on the command line, saved whole with its run.

::

    config = read_config("configs/seed-svm.yaml", ["model.params.C=3", "seed=1"])

Every setting is a field with a type and a default, so a misspelt key is an error that names the nearest one,
and what is saved with a run says every value that was used.
"""

from __future__ import annotations

from emovox.training.config.reading import read_comparison, read_config, to_yaml
from emovox.training.config.sections import (
    AugmentConfig,
    ClassicalModel,
    ComparisonConfig,
    Config,
    FeatureConfig,
    NetModel,
    SelectionConfig,
    TrainingConfig,
    TuneConfig,
    WindowConfig,
)

__all__ = [
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
    "read_comparison",
    "read_config",
    "to_yaml",
]
