"""Usage reports of the libraries that emovox uses: off, unless the user sets them.

::

    disable_telemetry()
    import onnxruntime

Some libraries report their use over the network by default: onnxruntime's official builds for
Linux and macOS since 1.29 (a session's model, its graph's name and hashes, times; they also leave an
identifier in the user's cache and a file ``.ses`` in the folder for temporary files), MLflow since 3.2, Ray
and the client of the Hugging Face Hub. All of them read an environment variable once, when they are loaded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["SWITCHES", "disable_telemetry"]

SWITCHES: Mapping[str, str] = {
    "ORT_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Environment variable -> the value that turns the reports of its library off."""


def disable_telemetry() -> None:
    """Set the switches that the user has not set, for this process and those it starts.

    Call it before a library is loaded; afterwards it has no effect on that library.
    """
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
