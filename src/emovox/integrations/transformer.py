"""Features and embeddings as a scikit-learn transformer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from emovox import audio
from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.errors import AudioError, ConfigError, MissingExtraError
from emovox.features import find_feature_set
from emovox.features.extraction import extract
from emovox.inference.embedding import NAME, make_embedding_set

try:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.utils import Tags
    from sklearn.utils.validation import check_is_fitted, validate_data
except ModuleNotFoundError as error:
    raise MissingExtraError("EmovoxTransformer", "classical") from error

__all__ = ["EmovoxTransformer"]


class EmovoxTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Turn recordings into rows of features or embeddings, in a scikit-learn pipeline.

    ``X`` is a list of recordings (paths, bytes, or arrays of any length), or an array ``(n, n_samples)``
    with a sound in each row. A feature that a sound does not have is nan, such as the pitch of a whisper: put
    `sklearn.impute.SimpleImputer` behind it where estimators take no nan. Embeddings have none.

    Nothing is learnt from ``X``, so that no row depends on another, in training or in test.

    Args:
        features: the name of a set of the kind ``vector`` (`emovox.features.SETS`), ``embedding`` or
            ``embedding:MODEL``.
        sample_rate: Hz of arrays; files have their own.
        on_error: ``"raise"``, or ``"nan"`` for a row of nan where a recording cannot be read.
        workers: processes for lists of paths.

    >>> from emovox.integrations import EmovoxTransformer                               # doctest: +SKIP
    >>> pipeline = make_pipeline(EmovoxTransformer("embedding"), LogisticRegression())  # doctest: +SKIP
    >>> pipeline.fit(files, labels).predict(["clip.wav"])                               # doctest: +SKIP
    """

    def __init__(
        self,
        features: str = "emovox-core",
        *,
        sample_rate: int = SAMPLE_RATE,
        on_error: str = "raise",
        workers: int = 1,
    ) -> None:
        self.features = features
        self.sample_rate = sample_rate
        self.on_error = on_error
        self.workers = workers

    def fit(self, X: Any, y: object = None) -> Self:
        """Find the feature set; learn nothing.

        Raises:
            ConfigError: an argument is wrong.
            ValueError: ``X`` is empty or not of the kinds above.
        """
        if self.on_error not in ("raise", "nan"):
            raise ConfigError(f"on_error is {self.on_error!r}; expected 'raise' or 'nan'")
        is_embedding = self.features.partition(":")[0] == NAME
        found = make_embedding_set(self.features) if is_embedding else find_feature_set(self.features)
        if found.kind != "vector":
            raise ConfigError(f"the set {self.features!r} gives frames; expected one of the kind 'vector'")
        self._check(X, reset=True)
        self.feature_set_ = found
        self.columns_ = tuple(found.columns)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Compute ``(n, n_columns)`` float32, a row for each recording.

        Raises:
            AudioError: a recording cannot be read, with ``on_error="raise"``; the message names it.
        """
        check_is_fitted(self)
        items = self._check(X, reset=False)
        if all(isinstance(item, (str, os.PathLike)) for item in items):
            table = extract(items, self.feature_set_, workers=self.workers)
            for name, text in table.errors.items():
                if self.on_error == "raise":
                    raise AudioError(text if name in text else f"{name}: {text}")
            return table.values
        rows = np.full((len(items), len(self.columns_)), np.nan, np.float32)
        for row, item in zip(rows, items, strict=True):
            row[:] = self._compute(item)
        return rows

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Return the names of the columns."""
        check_is_fitted(self)
        return np.array([f"{self.features}_{column}" for column in self.columns_], object)

    def _check(self, X: Any, *, reset: bool) -> Any:
        """Return the recordings; an array of numbers is checked as scikit-learn does it."""
        if isinstance(X, (str, bytes, os.PathLike)):
            raise ValueError(f"X is one {type(X).__name__}; expected several recordings, in a list")
        if not hasattr(X, "dtype") and not hasattr(X, "columns") and isinstance(X, Sequence) and len(X):
            if any(isinstance(item, (str, bytes, os.PathLike, np.ndarray)) for item in X):
                return X
        elif (
            getattr(getattr(X, "dtype", None), "kind", "") in "OUT" and getattr(X, "ndim", 0) == 1 and len(X)
        ):
            values = list(X)  # a column of a table
            if all(isinstance(item, (str, bytes, os.PathLike, np.ndarray)) for item in values):
                return values
        return validate_data(self, X, reset=reset, dtype=[np.float64, np.float32])

    def _compute(self, item: Any) -> Floats | float:
        try:
            rate = self.sample_rate if hasattr(item, "__array__") else None
            sound = audio.read(item, sample_rate=rate)
            return self.feature_set_(sound, SAMPLE_RATE)
        except AudioError:
            if self.on_error == "raise":
                raise
            return np.nan

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.requires_fit = True
        return tags
