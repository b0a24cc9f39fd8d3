"""Frames block by block are those of the whole, however the blocks are cut, and what cannot be is refused."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emovox._arrays import Floats
from emovox.errors import AudioValueError, ConfigError
from emovox.features import FEATURES, SETS, FeatureSet, FrameSettings, find_feature_set
from emovox.features.blocks import frame_blocks
from emovox.features.feature_set import FeaturePart, compose_set

RATE = 16_000
LOCAL = ("mel", "log_mel", "mfcc", "chroma", "tonnetz", "contrast", "centroid", "bandwidth", "rolloff")
LOCAL += ("flatness", "ssc", "zcr", "rms")


@cache
def speech(seconds: float = 8.0, seed: int = 0) -> Floats:
    """Syllables of a gliding voice with breath and digital silence between some of them."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(150 + 50 * np.sin(2 * np.pi * 0.7 * t)) / RATE
    voice = sum(np.cos(k * phase + k) / k for k in range(1, 24))
    syllables = np.clip(np.sin(2 * np.pi * 3.1 * t) + 0.3, 0, 1)
    sound = 0.1 * voice * syllables + 0.01 * rng.standard_normal(t.size)
    sound[(t > 2.2) & (t < 2.9)] = 0
    return sound.astype(np.float32)


def frames_set(*families: str, settings: FrameSettings, **parameters: dict[str, Any]) -> FeatureSet:
    parts = [
        FeaturePart(family=name, settings=settings, parameters=parameters.get(name, {})) for name in families
    ]
    return compose_set("test", parts, description="for tests", source="tests")


def cut(x: Floats, lengths: list[int]) -> Iterator[Floats]:
    """``x`` in pieces of these lengths, over and over."""
    begin = turn = 0
    while begin < x.size:
        end = begin + lengths[turn % len(lengths)]
        yield x[begin:end]
        begin, turn = end, turn + 1


def assert_same(x: Floats, lengths: list[int], made: FeatureSet) -> int:
    """Blocks equal the whole, to 2e-6 of each family's largest; the number of pieces they came in."""
    pieces = list(frame_blocks(cut(x, lengths), made))
    assert all(piece.dtype == np.float32 and len(piece) for piece in pieces)
    joined, whole = np.concatenate(pieces), made(x)
    assert joined.shape == whole.shape
    assert np.array_equal(np.isnan(joined), np.isnan(whole))
    off = np.nan_to_num(np.abs(joined - whole))
    borders = np.cumsum([len(part.columns()) for part in made.compute.keywords["parts"]])[:-1]
    for away, values in zip(np.split(off, borders, 1), np.split(whole, borders, 1), strict=True):
        assert away.max() <= 2e-6 * np.nan_to_num(np.abs(values)).max()
    return len(pieces)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(("window", "hop", "n_fft"), [(400, 160, 512), (2048, 512, 2048), (401, 97, 1024)])
def test_blocks_are_the_whole(centred, window, hop, n_fft) -> None:
    s = FrameSettings(window=window, hop=hop, n_fft=n_fft, centred=centred, preemphasis=0.9)
    made = frames_set(*LOCAL, settings=s, mfcc={"deltas": 2, "delta_width": 11})
    assert assert_same(speech(), [RATE], made) > 3


@pytest.mark.parametrize("low_hz", [40.0, 60.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_blocks_of_f0_families(low_hz, seed) -> None:
    voice = ("jitter", "shimmer", "hnr", "formants", "harmonics")
    made = frames_set("f0", *voice, "rms", settings=FrameSettings(), f0={"low_hz": low_hz})
    assert assert_same(speech(12.0, seed), [2 * RATE], made) > 3


@given(
    n=st.integers(1, 40_000),
    lengths=st.lists(st.integers(0, 9000), min_size=1, max_size=5).filter(lambda lengths: sum(lengths) > 200),
    window=st.integers(1, 800),
    extra=st.integers(0, 300),
    hop=st.integers(20, 900),
    centred=st.booleans(),
    deltas=st.integers(0, 2),
)
@settings(max_examples=40)
def test_blocks_equal_whole(n, lengths, window, extra, hop, centred, deltas) -> None:
    n_fft = window + extra + (window + extra) % 2
    s = FrameSettings(window=window, hop=hop, n_fft=n_fft, centred=centred)
    made = frames_set("zcr", "rms", "mfcc", settings=s, mfcc={"deltas": deltas, "n_mfcc": 5})
    assert_same(speech()[:n], lengths, made)


def test_blocks_of_one_sample() -> None:
    made = frames_set("rms", settings=FrameSettings())
    assert_same(speech()[:5000], [1], made)


def test_blocks_bounded_memory() -> None:
    longest = 0

    def watched(x: Floats, rate: int, **_: Any) -> Floats:
        nonlocal longest
        longest = max(longest, x.size)
        return FEATURES["rms"](x, rate)

    made = frames_set("rms", settings=FrameSettings())
    compute = made.compute
    object.__setattr__(made, "compute", type(compute)(watched, **compute.keywords))
    x = np.tile(speech(), 10)
    assert sum(map(len, frame_blocks(cut(x, [RATE]), made))) == 1 + x.size // 160
    assert longest <= RATE + 4 * 1000


@pytest.mark.parametrize(
    ("name", "overrides", "says"),
    [
        ("seed-180", {}, "one row a recording"),
        ("seed-lstm", {}, "mfcc.top_db with None"),
        ("seed-hybrid", {"mfcc.top_db": None}, "chroma.tuning with a number"),
        ("seed-clstm", {"mfcc.top_db": None}, "clip_s with None"),
    ],
)
def test_blocks_refuse_whole_recording_sets(name, overrides, says) -> None:
    with pytest.raises(ConfigError, match=says):
        frame_blocks([], find_feature_set(name, overrides))


def test_suggested_overrides_suffice() -> None:
    for name in (name for name, made in SETS.items() if made.kind == "frames"):
        if not name.startswith("seed-"):
            continue
        overrides = {"mfcc.top_db": None, "clip_s": None}
        overrides |= {"chroma.tuning": 0.0} if name == "seed-hybrid" else {}
        assert_same(speech(), [2 * RATE], find_feature_set(name, overrides))


@pytest.mark.parametrize("name", list(FEATURES))
def test_every_family_has_a_reach(name) -> None:
    made = frames_set(name, settings=FrameSettings())
    try:
        frame_blocks([], made)
    except ConfigError:
        return
    assert_same(speech(), [RATE], made)


def test_family_without_reach_is_refused(monkeypatch) -> None:
    monkeypatch.setitem(FEATURES, "novel", FEATURES["rms"])
    with pytest.raises(
        ConfigError, match=r"'novel', which needs the whole recording; possible in blocks: mel"
    ):
        frame_blocks([], frames_set("novel", settings=FrameSettings()))


def test_unusable_blocks() -> None:
    made = frames_set("rms", settings=FrameSettings())
    for blocks, says in (
        ([], "no samples"),
        ([np.zeros(0, np.float32)], "no samples"),
        ([np.zeros((1, 10), np.float32)], "expected"),
        ([np.full(10, np.nan, np.float32)], "finite"),
    ):
        with pytest.raises(AudioValueError, match=says):
            list(frame_blocks(blocks, made))
