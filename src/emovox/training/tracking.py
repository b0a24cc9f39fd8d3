"""Copy runs to MLflow, where their scores can be followed (extra ``track``).

The folder of a run stays the record; MLflow gets its settings, its scores and its small files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from emovox._telemetry import disable_telemetry
from emovox.errors import MissingExtraError
from emovox.training.run_folder import BUNDLE_FOLDER, Run

__all__ = ["EXPERIMENT", "check_location", "is_installed", "log_run", "track_run"]

EXPERIMENT = "emovox"
"""Name of the experiment in MLflow."""

_ALLOW_FILES = "MLFLOW_ALLOW_FILE_STORE"
_MAX_FILE_BYTES = 20_000_000


def is_installed() -> bool:
    """Whether MLflow is installed. Nothing is imported."""
    return find_spec("mlflow") is not None


def check_location(location: str | None) -> None:
    """Check, before the work, that MLflow is installed if a location is named.

    Raises:
        MissingExtraError: it is not.
    """
    if location not in (None, "off") and not is_installed():
        raise MissingExtraError("tracking runs in MLflow", "track")


def track_run(run: Run, location: str | None, notify: Callable[[str], None]) -> None:
    """Log a run to MLflow where it is installed or asked for; a failure there is reported and costs no run.

    Args:
        location: a folder, the address of a server, or ``off``; ``None``: ``mlruns`` beside the run.
    """
    if location == "off" or (location is None and not is_installed()):
        return
    try:
        log_run(run, location or run.folder.absolute().parent / "mlruns")
    except MissingExtraError:
        raise
    except Exception as error:  # a server that is down, a full disk: the run itself is complete
        notify(f"MLflow did not take the run: {error}")


def log_run(run: Run, location: str | Path) -> str:
    """Write a run into the MLflow store at ``location``, a folder or the address of a server; its MLflow id.

    Raises:
        MissingExtraError: MLflow is not installed.
    """
    check_location(str(location))
    disable_telemetry()
    from mlflow import MlflowClient

    address = str(location) if "://" in str(location) else Path(location).resolve().as_uri()
    # MLflow 3 refuses a store of plain files, the only one without a database, unless this is set.
    before = os.environ.get(_ALLOW_FILES)
    os.environ[_ALLOW_FILES] = "true"
    try:
        client = MlflowClient(tracking_uri=address)
        known = client.get_experiment_by_name(EXPERIMENT)
        experiment = client.create_experiment(EXPERIMENT) if known is None else known.experiment_id
        key = client.create_run(
            experiment, run_name=run.name, tags={"emovox.folder": str(run.folder)}
        ).info.run_id
        for name, value in _flatten(run.record):
            if isinstance(value, float):
                client.log_metric(key, name, value)
            else:
                client.log_param(key, name, str(value)[:500])
        for file in sorted(run.folder.iterdir()):
            if file.is_file() and file.stat().st_size <= _MAX_FILE_BYTES:
                client.log_artifact(key, str(file))
        if (run.folder / BUNDLE_FOLDER).is_dir():
            client.log_artifacts(key, str(run.folder / BUNDLE_FOLDER), BUNDLE_FOLDER)
        client.set_terminated(key)
    finally:
        if before is None:
            del os.environ[_ALLOW_FILES]
        else:
            os.environ[_ALLOW_FILES] = before
    return str(key)


def _flatten(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values, without lists and missing values: those are in the files."""
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        elif value is not None and not isinstance(value, list | tuple):
            yield f"{prefix}{key}", value
