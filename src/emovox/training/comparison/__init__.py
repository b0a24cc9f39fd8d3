"""Many systems under the same folds: which is best, by how much, and what does a leaky protocol make of it?

A *system* is an estimator on a set of features. The order of things is the point:

1. Every system is fitted on the training part of every split and answers the validation part.
2. Per protocol, the system with the best validation UAR over all splits is named, in ``chosen.json``.
3. Only now does anybody answer the test part: fitted on training and validation together (``refit``), with
   the settings of step 1, since nothing is chosen any more.

The headline is the chosen system's test UAR; the whole table stands beside it. As in any cross-validation
with one system for all folds, a speaker who is tested in one fold has validated in another. Therefore a
second figure is given, in which each fold is answered by the best system on its own validation speakers.

``cells`` fits and keeps, ``run`` keeps the order, ``document`` scores.
"""

from __future__ import annotations

from emovox.training.comparison.cells import Answers, Cell, System
from emovox.training.comparison.document import comparison_document, comparison_times
from emovox.training.comparison.run import Comparison, Results, compute, models_of

__all__ = [
    "Answers",
    "Cell",
    "Comparison",
    "Results",
    "System",
    "comparison_document",
    "comparison_times",
    "compute",
    "models_of",
]
