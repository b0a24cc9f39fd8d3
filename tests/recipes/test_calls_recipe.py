"""Windows whole and over shared frames, as recipes/default_calls.py scores them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from default_calls import score_windows

from emovox.bundles import load_bundle
from emovox.inference.scorer import Scorer
from speech import talk


def test_shared_frames_differ_from_whole_windows(streaming_bundle: Path) -> None:
    pairs = list(score_windows(Scorer(load_bundle(streaming_bundle)), talk()))
    whole, shared = np.array(pairs).transpose(1, 0, 2)
    assert len(pairs) > 10
    np.testing.assert_allclose(shared.sum(1), 1)
    assert not np.allclose(whole, shared)
    # What begins after a pause is encoded as a clip, as a whole window is.
    assert np.abs(whole[0] - shared[0]).max() < np.abs(whole - shared).max() / 2
