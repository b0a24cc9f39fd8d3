"""Would a user get this score? The answers, what they amount to, what the test had in common with training.

``answers`` puts clips to the recogniser that users run, ``data`` finds the clips, ``stamps`` compares them
with what the model says it was trained on, by names and by ``contents``, ``robustness`` asks again when the
sound is worse, and ``card`` makes one document of it all, which ``emovox.reports`` turns into pages.
"""

from __future__ import annotations

from emovox.evaluation.answers import NO_ANSWER, Evaluation, evaluate
from emovox.evaluation.leakage import Stamp, stamp
from emovox.evaluation.robustness import CONDITIONS, Condition, Robustness, robustness, sample
from emovox.evaluation.scorecard import SCHEMA, scorecard

__all__ = [
    "CONDITIONS",
    "NO_ANSWER",
    "SCHEMA",
    "Condition",
    "Evaluation",
    "Robustness",
    "Stamp",
    "evaluate",
    "robustness",
    "sample",
    "scorecard",
    "stamp",
]
