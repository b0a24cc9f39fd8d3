"""What do the libraries below us tell others of our work? Nothing, unless the user says so.

::

    keep_quiet()
    import onnxruntime

Some report how they are used, over the network and without being asked: onnxruntime's official builds for
Linux and macOS since 1.29 (a session's model, its graph's name and hashes, times; they also leave an
identifier in the user's cache and a file ``.ses`` in the folder for temporary files), MLflow since 3.2, Ray
and the client of the Hugging Face Hub. All of them read an environment variable once, when they are loaded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["SWITCHES", "keep_quiet"]

SWITCHES: Mapping[str, str] = {
    "ORT_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Environment variable -> the value that makes its library quiet."""


def keep_quiet() -> None:
    """Set the switches that the user has not set, for this process and those it starts.

    To be called before one of the libraries is loaded; afterwards it changes nothing for that one.
    """
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
