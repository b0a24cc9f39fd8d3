"""Many recordings, many processes, many machines.

``crew`` does many items in several processes, which `Recognizer.predict_many` and the commands use. Above it,
``drive`` does a ``job``: it judges what a ``plan`` names, in shards, by one of the ``engines``, and goes on
after whatever stopped it; ``merge`` makes one file of it::

    task = answer_task("default")
    run_job(Job("calls/", "out", task), engine("local"), workers=4)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emovox.batch.drive import Pace, Status, run_job, status
    from emovox.batch.engines import engine
    from emovox.batch.job import Job
    from emovox.batch.ledger import read_ledger
    from emovox.batch.tasks import answer_task, feature_task

__all__ = [
    "Job",
    "Pace",
    "Status",
    "answer_task",
    "engine",
    "feature_task",
    "read_ledger",
    "run_job",
    "status",
]

_HOME = {
    "Job": "job",
    "Pace": "drive",
    "Status": "drive",
    "answer_task": "tasks",
    "engine": "engines",
    "feature_task": "tasks",
    "read_ledger": "ledger",
    "run_job": "drive",
    "status": "drive",
}


def __getattr__(name: str) -> Any:
    """What a run needs is loaded when it is asked for: `predict_many` needs the crew alone."""
    if name in _HOME:
        return getattr(import_module(f"emovox.batch.{_HOME[name]}"), name)
    raise AttributeError(f"module 'emovox.batch' has no attribute {name!r}")
