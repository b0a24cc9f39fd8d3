"""Behavioural tests of a model: correctness, fairness and robustness, each with a limit and its source.

``check_behaviour`` does all that ``emovox check`` does. Tests are data: the rows of ``behaviour.yaml`` and
of users' files (``definitions``). A test names a metric (``registry``), the clips it takes (``clips``), and
perhaps a change of the sound (``changes``). ``runner`` predicts the clips and computes the results; its
document of plain JSON types is what `emovox.reports.behaviour` shows. The categories and most limits follow
A. Derington et al., Testing Correctness, Fairness, and Robustness of Speech Emotion Recognition Models (arXiv
2312.06270), and its published tests (https://audeering.github.io/ser-tests).
"""

from __future__ import annotations

from emovox.evaluation.behaviour.definitions import BehaviourTest, read_tests, select_tests
from emovox.evaluation.behaviour.models import OtherModel
from emovox.evaluation.behaviour.runner import Behaviour, check_behaviour

__all__ = ["Behaviour", "BehaviourTest", "OtherModel", "check_behaviour", "read_tests", "select_tests"]
