"""Support vector machine with the kernel as one matrix product, and rows of one length.

scikit-learn's SVC computes the kernel for two rows at a time, which with thousands of columns takes nearly
all of its time; one matrix product is ten times faster.

A Gaussian kernel is 0 far from the training rows, so that all clips of an unseen microphone get the bias
alone, and one label. Length normalization (Garcia-Romero and Espy-Wilson, 2011) prevents this: no squared
distance is over ``4 d`` in ``d`` columns.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.svm import SVC

from emovox._arrays import Doubles

__all__ = ["FEWEST_COLUMNS", "KERNELS", "SHORTEST", "KernelSVC"]

KERNELS = ("rbf", "linear", "poly", "sigmoid")

FEWEST_COLUMNS = 30
"""Rows with fewer columns keep their length: of one column nothing else is left."""

SHORTEST = 1e-9
"""Shorter rows are divided by this length, so that a row of zeros stays one."""


class KernelSVC(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """scikit-learn's `SVC` with ``break_ties``: its parameters and its results.

    Args:
        normalize: scale every row, before the kernel, to the length ``sqrt(d)`` that standardised rows
            ``(n, d)`` have in the mean; with fewer than `FEWEST_COLUMNS` it has no effect.
    """

    def __init__(
        self,
        C: float = 1.0,
        kernel: str = "rbf",
        degree: float = 3,
        gamma: str | float = "scale",
        coef0: float = 0.0,
        tol: float = 1e-3,
        random_state: int | None = None,
        normalize: bool = False,
    ) -> None:
        self.C = C
        self.kernel = kernel
        self.degree = degree
        self.gamma = gamma
        self.coef0 = coef0
        self.tol = tol
        self.random_state = random_state
        self.normalize = normalize

    def fit(self, X: NDArray[Any], y: NDArray[Any], sample_weight: NDArray[Any] | None = None) -> Self:
        """Fit on rows ``(n, d)`` without nan.

        Raises:
            ValueError: a parameter is out of range.
        """
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel is {self.kernel!r}; expected one of {', '.join(KERNELS)}")
        self.n_features_in_ = np.shape(X)[1]
        self.normalizes_ = self.normalize and self.n_features_in_ >= FEWEST_COLUMNS
        rows = self._scale(X)
        self.gamma_ = self._resolve_gamma(rows)
        machine = SVC(C=self.C, kernel="precomputed", tol=self.tol, random_state=self.random_state)
        self.machine_ = machine.fit(self._kernel(rows, rows), y, sample_weight)
        self.classes_ = machine.classes_
        self.support_vectors_ = rows[machine.support_]
        return self

    def decision_function(self, X: NDArray[Any]) -> Doubles:
        """Return scores ``(n, k)``, or ``(n,)`` of the second of two classes."""
        return np.asarray(self.machine_.decision_function(self._training_kernel(X)))

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return the class of the highest score, ``(n,)``; `SVC` does so with ``break_ties``."""
        scores = self.decision_function(X)
        index = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)
        return np.asarray(self.classes_[index])

    def _scale(self, X: NDArray[Any]) -> Doubles:
        """Return the rows ``(n, d)`` that enter the kernel."""
        rows = np.asarray(X, np.float64)
        if not self.normalizes_:
            return rows
        lengths = np.sqrt(np.square(rows).sum(1, keepdims=True) / rows.shape[1])
        # In float32, as a bundle stores the support vectors: half the size.
        return np.asarray((rows / np.maximum(lengths, SHORTEST)).astype(np.float32), np.float64)

    def _training_kernel(self, X: NDArray[Any]) -> Doubles:
        """Kernel with the training rows; zero except for the support vectors."""
        kernel = np.zeros((len(X), self.machine_.shape_fit_[0]))
        kernel[:, self.machine_.support_] = self._kernel(self._scale(X), self.support_vectors_)
        return kernel

    def _kernel(self, a: Doubles, b: Doubles) -> Doubles:
        """Kernel ``(n, m)`` of rows ``(n, d)`` and ``(m, d)``."""
        product = a @ b.T
        if self.kernel == "rbf":
            squared = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * product
            return np.asarray(np.exp(-self.gamma_ * np.maximum(squared, 0)))
        if self.kernel == "linear":
            return np.asarray(product)
        inner = self.gamma_ * product + self.coef0
        return np.asarray(inner**self.degree if self.kernel == "poly" else np.tanh(inner))

    def _resolve_gamma(self, rows: Doubles) -> float:
        """Return the number that ``gamma`` stands for in scikit-learn."""
        if self.gamma == "scale":
            return 1.0 / (int(rows.shape[1]) * (float(rows.var()) or 1.0))
        if self.gamma == "auto":
            return 1.0 / int(rows.shape[1])
        if isinstance(self.gamma, str) or not self.gamma > 0:
            raise ValueError(f"gamma is {self.gamma!r}; expected scale, auto or a number over 0")
        return float(self.gamma)
