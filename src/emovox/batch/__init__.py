"""Process many recordings in a resumable run, on this machine or on a cluster.

A `BatchJob` names recordings, a task and a folder; `run_job` divides the recordings into shards, processes
them with an engine and resumes after any interruption; `merge_run` makes one file of all rows::

    job = BatchJob("calls/", "out", make_prediction_task("default"))
    status = run_job(job, make_engine("local"), workers=4)
    merge_run("out", status.record, "out/rows.parquet")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emovox.batch.engines import make_engine
    from emovox.batch.merge import merge_run
    from emovox.batch.run_folder import BatchJob, read_record
    from emovox.batch.runner import BatchProgress, BatchStatus, read_status, run_job
    from emovox.batch.tasks import make_feature_task, make_prediction_task

__all__ = [
    "BatchJob",
    "BatchProgress",
    "BatchStatus",
    "make_engine",
    "make_feature_task",
    "make_prediction_task",
    "merge_run",
    "read_record",
    "read_status",
    "run_job",
]

_MODULES = {
    "BatchJob": "run_folder",
    "BatchProgress": "runner",
    "BatchStatus": "runner",
    "make_engine": "engines",
    "make_feature_task": "tasks",
    "make_prediction_task": "tasks",
    "merge_run": "merge",
    "read_record": "run_folder",
    "read_status": "runner",
    "run_job": "runner",
}


def __getattr__(name: str) -> Any:
    """Load modules on first use, so that ``emovox --help`` stays fast."""
    if name in _MODULES:
        return getattr(import_module(f"emovox.batch.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'emovox.batch' has no attribute {name!r}")
