"""What numbers describe this window? One file a family; `FEATURES` is a dict one can read."""

from __future__ import annotations

from emovox.features.frames import Family

__all__ = ["FEATURES"]

FEATURES: dict[str, Family] = {}
