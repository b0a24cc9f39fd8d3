"""Runs in MLflow, for those who keep an eye on many of them there (extra ``track``).

The run folder stays the record; MLflow gets its settings, its scores and the small files beside them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from emovox._telemetry import keep_quiet
from emovox.errors import MissingExtraError
from emovox.training.run_folder import BUNDLE_FOLDER, Run

__all__ = ["EXPERIMENT", "check_installed", "is_installed", "track"]

EXPERIMENT = "emovox"
"""What runs are filed under."""

_ALLOW = "MLFLOW_ALLOW_FILE_STORE"
_LARGEST = 20_000_000
"""Bytes of a file that is copied."""


def is_installed() -> bool:
    """Whether MLflow is here. Nothing is imported."""
    return find_spec("mlflow") is not None


def check_installed() -> None:
    """Refuse to track where MLflow is not.

    Raises:
        MissingExtraError: the extra ``track`` is not there.
    """
    if not is_installed():
        raise MissingExtraError("tracking runs in MLflow", "track")


def track(run: Run, place: str | Path) -> str:
    """Write ``run`` into the MLflow store at ``place``, a folder or the address of a server; its MLflow id.

    Raises:
        MissingExtraError: MLflow is not installed.
    """
    check_installed()
    address = str(place) if "://" in str(place) else Path(place).resolve().as_uri()
    with _file_store_allowed():
        return _written(run, address)


@contextmanager
def _file_store_allowed() -> Iterator[None]:
    """MLflow 3 refuses a store of plain files, the only one that needs no database, unless this is set."""
    before = os.environ.get(_ALLOW)
    os.environ[_ALLOW] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ALLOW]
        else:
            os.environ[_ALLOW] = before


def _written(run: Run, address: str) -> str:
    keep_quiet()
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=address)
    known = client.get_experiment_by_name(EXPERIMENT)
    experiment = client.create_experiment(EXPERIMENT) if known is None else known.experiment_id
    made = client.create_run(experiment, run_name=run.name, tags={"emovox.folder": str(run.folder)})
    for key, value in _flat(run.record):
        if isinstance(value, float):
            client.log_metric(made.info.run_id, key, value)
        else:
            client.log_param(made.info.run_id, key, str(value)[:500])
    for file in sorted(run.folder.iterdir()):
        if file.is_file() and file.stat().st_size <= _LARGEST:
            client.log_artifact(made.info.run_id, str(file))
    if (run.folder / BUNDLE_FOLDER).is_dir():
        client.log_artifacts(made.info.run_id, str(run.folder / BUNDLE_FOLDER), BUNDLE_FOLDER)
    client.set_terminated(made.info.run_id)
    return str(made.info.run_id)


def _flat(record: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and what stands there; lists and what is missing are left to the files."""
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        elif value is not None and not isinstance(value, list | tuple):
            yield f"{before}{key}", value
