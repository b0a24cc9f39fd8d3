"""Settings that make every net on frames small enough for a test."""

from __future__ import annotations

from typing import Any

SMALL_NETS: dict[str, dict[str, Any]] = {
    "mlp": {"layers": [16]},
    "lstm": {"hidden": 8},
    "bilstm": {"hidden": 8},
    "gru": {"hidden": 8},
    "cnn1d": {"channels": [8, 8]},
    "cnn2d": {"channels": [4, 4]},
    "clstm": {"channels": [8], "hidden": 8},
    "crnn": {"channels": [4], "hidden": 8},
    "tcn": {"channels": 8, "n_blocks": 3},
    "conformer": {"channels": 16, "n_heads": 2, "n_blocks": 1},
}
