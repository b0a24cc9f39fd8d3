"""Errors form the tree that their docstring draws, and a missing extra says what installs it."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import pytest

from emovox import errors
from emovox.errors import EmovoxError, MissingExtraError, install_command


def test_every_error_is_ours_and_stands_in_the_tree() -> None:
    assert errors.__doc__ is not None
    for name in errors.__all__:
        thing = getattr(errors, name)
        if isinstance(thing, type):
            assert issubclass(thing, EmovoxError)
            assert name in errors.__doc__


@pytest.mark.parametrize(
    ("extra", "torch"), [("media", False), ("classical", False), ("train", True), ("all", True)]
)
def test_a_missing_extra_says_what_installs_it(extra: str, torch: bool) -> None:
    error = MissingExtraError("this", extra)
    assert isinstance(error, ImportError)
    assert install_command(extra) in str(error)
    assert ("PyTorch's CPU build first" in str(error)) is torch


def test_install_command_names_interpreter_and_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", "/some where/bin/python3")
    root = Path(errors.__file__).resolve().parents[2]
    assert install_command("mic") == f"'/some where/bin/python3' -m pip install -e '{root}[mic]'"
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "lib" / "emovox" / "errors.py"))
    wheel = tmp_path / "emovox 1.whl"
    record = {"url": wheel.as_uri()}
    monkeypatch.setattr(metadata.PathDistribution, "read_text", lambda self, name: json.dumps(record))
    assert install_command("mic").endswith("-m pip install 'emovox[mic]'"), "the wheel is not there"
    wheel.touch()
    assert install_command("mic").endswith(f"-m pip install '{wheel}[mic]'")
    record["url"] = "https://example.org/emovox.whl"
    assert install_command("mic").endswith("-m pip install 'emovox[mic]'")
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "python").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3.11"))
    assert install_command("mic") == "python -m pip install 'emovox[mic]'"
