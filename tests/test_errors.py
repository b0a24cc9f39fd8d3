"""Errors form the tree that their docstring draws, and a missing extra says what installs it."""

from __future__ import annotations

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
    assert f"pip install 'emovox[{extra}]'" in str(error)
    assert install_command(extra) in str(error)
    assert ("PyTorch's CPU build first" in str(error)) is torch
