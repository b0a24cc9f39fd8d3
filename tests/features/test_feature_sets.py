"""Feature sets: what a name means, and what changes its digest."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emovox.errors import AudioValueError, ConfigError
from emovox.features import FEATURES, SETS, FrameSettings, find_feature_set
from emovox.features.feature_set import FeaturePart, compose_set

RATE = 16_000
COMPOSED = ("seed-180", "seed-clstm", "seed-hybrid", "seed-lstm", "seed-full")
SIZES = {"seed-180": 180, "seed-clstm": 22, "seed-hybrid": 180, "seed-lstm": 13, "seed-full": 2442}


def voice(seconds: float = 1.5, seed: int = 0) -> np.ndarray:
    """A buzz of harmonics with a little noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 20))
    return (0.1 * buzz + 0.01 * rng.standard_normal(t.size)).astype(np.float32)


@pytest.mark.parametrize("name", COMPOSED)
def test_values_match_columns(name: str) -> None:
    made = SETS[name]
    values = made(voice())
    assert values.dtype == np.float32
    assert values.shape[-1] == len(made.columns) == len(set(made.columns)) == SIZES[name]
    assert values.ndim == (1 if made.kind == "vector" else 2)
    assert np.array_equal(values, made(voice()), equal_nan=True)


@pytest.mark.parametrize("name", COMPOSED)
def test_set_pickles(name: str) -> None:
    copy = pickle.loads(pickle.dumps(SETS[name]))
    assert copy.digest == SETS[name].digest
    assert np.array_equal(copy(voice()), SETS[name](voice()), equal_nan=True)


@pytest.mark.parametrize("name", ["seed-180", "seed-full"])
def test_vector_equals_statistics(name: str) -> None:
    """By another road: every family with a transform of its own, and the mean by numpy."""
    made, x = SETS[name], voice()
    row = dict(zip(made.columns, made(x), strict=True))
    loud = {"top_db": 80.0, "n_mels": 128}
    frames = FrameSettings(window=2048, hop=512, n_fft=2048)
    for family, parameters in (("mfcc", {"n_mfcc": 40, **loud}), ("mel", {"n_mels": 128})):
        alone = FEATURES[family](x, RATE, settings=frames, **parameters).mean(0)
        names = [f"{c}_mean" for c in FEATURES[family].columns(**parameters)]
        np.testing.assert_allclose([row[n] for n in names], alone, rtol=1e-4, atol=1e-5)


def test_seed_clstm_duration() -> None:
    made = SETS["seed-clstm"]
    assert made(voice(1.0)).shape == made(voice(6.0)).shape == (401, 22)
    np.testing.assert_array_equal(made(voice(6.0)), made(voice(6.0)[: 4 * RATE]))


@pytest.mark.parametrize(
    "change",
    [
        *({"mfcc.n_mfcc": 13}, {"mfcc.lifter": 22.0}, {"ssc.n_bands": 20}, {"window": 1024}, {"hop": 256}),
        *({"taper": "hamming"}, {"preemphasis": 0.97}, {"clip_s": 3.0}, {"centred": False}),
    ],
)
def test_digest_depends_on_parameters(change: dict[str, object]) -> None:
    plain, other = SETS["seed-full"], find_feature_set("seed-full", change)
    assert other.digest != plain.digest
    assert other.reference() == {"set": "seed-full", "overrides": change, "digest": other.digest}
    assert other(voice()).shape == (len(other.columns),)


def test_digests_are_distinct() -> None:
    digests = {made.digest for made in SETS.values() if made.name in COMPOSED}
    assert len(digests) == len(COMPOSED)
    assert {f.name for f in fields(FeaturePart)} == set(SETS["seed-full"].definition["parts"][0])


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        ("seed-ful", None, "did you mean 'seed-full'"),
        ("seed-full", {"mfc.n_mfcc": 3}, "no parameter 'mfc.n_mfcc'"),
        ("seed-full", {"windw": 3}, "no parameter 'windw'"),
        ("seed-full", {"window": 4096}, "n_fft"),
        ("seed-full", {"mfcc.n_mfc": 13}, "did you mean 'mfcc.n_mfcc'"),
        ("seed-full", {"windw": 3}, "did you mean 'window'"),
        ("seed-full", {"mfcc.n_mfcc": "x"}, "wrong type"),
        ("seed-full", {"window": "x"}, "whole samples"),
        ("seed-full", {"hop": 160.5}, "whole samples"),
        ("seed-full", {"hop": True}, "whole samples"),
        ("seed-full", {"clip_s": -1.0}, "seconds above 0"),
        ("seed-full", {"trim_db": True}, "trim_db is True"),
        ("encoder:", None, "expected encoder:NAME"),
        ("seed-full", {"mel.n_mels": -1}, "cannot take"),
    ],
)
def test_unknown_names(name: str, overrides: dict[str, object] | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        find_feature_set(name, overrides)


@pytest.mark.parametrize("x", [[], [[0.0, 1.0]], [0.0, np.nan], [np.inf]])
def test_invalid_samples_are_refused(x: object) -> None:
    with pytest.raises(AudioValueError):
        SETS["seed-180"](np.asarray(x, dtype=np.float32))


def test_other_rate_is_refused() -> None:
    with pytest.raises(AudioValueError, match="16000"):
        SETS["seed-180"](voice(), 8000)


def test_incompatible_parts_are_refused() -> None:
    said = {"description": "", "source": ""}
    with pytest.raises(ConfigError, match="either all"):
        compose_set("x", [FeaturePart(family="zcr"), FeaturePart(family="rms", statistics=("mean",))], **said)
    with pytest.raises(ConfigError, match="one hop"):
        compose_set(
            "x",
            [FeaturePart(family="zcr"), FeaturePart(family="rms", settings=FrameSettings(hop=80))],
            **said,
        )
    left = FrameSettings(centred=False)
    parts = [
        FeaturePart(family="zcr", settings=left),
        FeaturePart(family="rms", settings=replace(left, window=320)),
    ]
    with pytest.raises(ConfigError, match="one window"):
        compose_set("x", parts, **said)
    with pytest.raises(ConfigError, match="unknown family"):
        compose_set("x", [FeaturePart(family="zrc")], **said)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 3000), level=st.floats(0, 1), name=st.sampled_from(COMPOSED))
def test_any_length(n: int, level: float, name: str) -> None:
    x = (level * np.random.default_rng(n).uniform(-1, 1, n)).astype(np.float32)
    values = SETS[name](x)
    assert values.shape[-1] == SIZES[name]
    assert not np.isinf(values).any()
