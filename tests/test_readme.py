"""The Python of the README runs as it is written, from top to bottom, in the root of a checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import emovox

ROOT = Path(__file__).parents[1]
URL = "http://127.0.0.1:8000"


def test_readme_snippets_run() -> None:
    for name in ("httpx", "fastapi", "uvicorn"):
        pytest.importorskip(name)
    from emovox.server.app import create_app
    from emovox.server.settings import ServerSettings
    from serving import serving

    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S
    )
    code = "\n".join(blocks)
    assert code.count(URL) == 1
    with serving(create_app(ServerSettings())) as (port, _):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code.replace(URL, f"http://127.0.0.1:{port}")],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, *rest = done.stdout.splitlines()
    assert first in emovox.load().labels
    assert len(rest) >= 10
