"""Pieces for other libraries: scikit-learn pipelines, Hugging Face datasets, pandas tables.

::

    from emovox.integrations import EmovoxTransformer, EmotionMap, predict_table

    make_pipeline(EmovoxTransformer("embedding"), LogisticRegression()).fit(files, y)
    dataset.map(EmotionMap())
    predict_table(frame, "file")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emovox.integrations.tables import EmotionMap, predict_table
    from emovox.integrations.transformer import EmovoxTransformer

__all__ = ["EmotionMap", "EmovoxTransformer", "predict_table"]

_HOME = {"EmotionMap": "tables", "EmovoxTransformer": "transformer", "predict_table": "tables"}


def __getattr__(name: str) -> Any:
    if name in _HOME:  # each needs another library
        return getattr(import_module(f"emovox.integrations.{_HOME[name]}"), name)
    raise AttributeError(f"module 'emovox.integrations' has no attribute {name!r}")
