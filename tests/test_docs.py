"""The documentation as a whole: its index of experiments."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_experiments_index_is_current() -> None:
    script = runpy.run_path(str(DOCS.parent / "scripts" / "index_experiments"))
    index = (DOCS / "experiments" / "index.md").read_text(encoding="utf-8")
    assert index == script["make_index"](), "run scripts/index_experiments"
    assert index.count("\n- 2026-") >= 46
