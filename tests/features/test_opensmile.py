"""openSMILE's sets: the stated sizes, and the values of its own Python interface, bit by bit."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from emovox._arrays import Floats
from emovox.audio import read
from emovox.errors import ConfigError, MissingExtraError
from emovox.features import SETS, FeatureSet, find_feature_set
from emovox.features import opensmile as smile

RATE = 16_000
SIZES = {
    "IS09_emotion": 384,
    "IS10_paraling": 1582,
    "IS11_speaker_state": 4368,
    "IS12_speaker_trait": 6125,
    "IS13_ComParE": 6373,
    "ComParE_2016": 6373,
    "eGeMAPSv02": 88,
    "emobase": 988,
}
needs_opensmile = pytest.mark.skipif(find_spec("opensmile") is None, reason="opensmile is not installed")


def voice(seconds: float = 1.0, *, seed: int = 0) -> Floats:
    """Harmonics on a moving pitch and noise, below full scale."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * (140 * t + 3 * np.sin(5 * t + seed))
    tone = sum(np.sin(k * phase) / k for k in range(1, 12))
    return (0.2 * tone * (0.6 + 0.4 * np.sin(9 * t)) + 0.02 * rng.standard_normal(t.size)).astype(np.float32)


SOUNDS = {
    "voice": voice(1.5),
    "a tenth": voice(0.1, seed=1),
    "silence": np.zeros(RATE // 2, np.float32),
    "noise": (0.3 * np.random.default_rng(5).uniform(-1, 1, RATE)).astype(np.float32),
}


@cache
def direct(name: str):  # type: ignore[no-untyped-def]
    """openSMILE's own interface to a set."""
    opensmile = pytest.importorskip("opensmile")
    own = {
        "IS09_emotion": "IS09",
        "IS10_paraling": "IS10",
        "IS11_speaker_state": "IS11",
        "IS12_speaker_trait": "IS12",
        "IS13_ComParE": "IS13",
    }
    return opensmile.Smile(
        feature_set=opensmile.FeatureSet[own.get(name, name)],
        feature_level=opensmile.FeatureLevel.Functionals,
    )


def test_sets_without_library() -> None:
    assert {name: SETS[name].n_columns for name in smile.OPENSMILE_SETS} == SIZES
    assert {SETS[name].extra for name in SIZES} == {"opensmile"}
    assert all("no commercial use" in SETS[name].licence for name in SIZES)


@needs_opensmile
@pytest.mark.parametrize("name", SIZES)
def test_equals_opensmile(name: str) -> None:
    ours, theirs = find_feature_set(name), direct(name)
    assert ours.columns == tuple(theirs.feature_names)
    assert len(ours.columns) == len(set(ours.columns)) == SIZES[name]
    for what, x in SOUNDS.items():
        row = ours(x, RATE)
        assert row.dtype == np.float32
        assert np.array_equal(row, theirs.process_signal(x, RATE).to_numpy()[0]), what
    assert np.abs(ours(SOUNDS["voice"])).max() > 0


@pytest.mark.corpora
@needs_opensmile
@pytest.mark.parametrize("name", SIZES)
def test_equals_opensmile_on_speech(name: str) -> None:
    root = Path(os.environ.get("EMOVOX_CORPORA", ""))
    if not os.environ.get("EMOVOX_CORPORA") or not (root / "emodb").is_dir():
        pytest.skip("EMOVOX_CORPORA is unset, or holds no EMO-DB")
    paths = [*sorted(root.glob("emodb/wav/*"))[::90], *sorted(root.glob("ravdess/**/*.flac"))[::240]]
    assert len(paths) >= 10
    ours, theirs = find_feature_set(name), direct(name)
    for path in paths:
        x = read(path)
        assert np.array_equal(ours(x), theirs.process_signal(x, RATE).to_numpy()[0]), path.name


@needs_opensmile
@pytest.mark.parametrize("name", SIZES)
def test_too_short_is_missing(name: str) -> None:
    for n in (1, 100):
        row = find_feature_set(name)(voice()[:n])
        assert row.shape == (SIZES[name],)
        assert np.isnan(row).all()


@needs_opensmile
@pytest.mark.parametrize("name", ["IS09_emotion", "eGeMAPSv02", "ComParE_2016"])
def test_extractor_has_no_state(name: str) -> None:
    given = find_feature_set(name)
    sounds = [*SOUNDS.values(), voice()[:1], voice()[:900]]
    first = [given(x) for x in sounds]
    for order in (np.random.default_rng(seed).permutation(len(sounds)) for seed in range(3)):
        for index in order:
            assert np.array_equal(given(sounds[index]), first[index], equal_nan=True)


@needs_opensmile
def test_full_scale_is_clipped() -> None:
    given = find_feature_set("IS09_emotion")
    x = voice()
    x[5000:5100] = 1.0
    almost = np.minimum(x, np.float32(32767 / 32768))
    assert np.array_equal(given(x), given(almost))


@needs_opensmile
def test_extractor_per_thread() -> None:
    given = find_feature_set("IS09_emotion")
    sounds = [voice(0.3, seed=seed) for seed in range(12)]
    alone = [given(x) for x in sounds]
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(a, b) for a, b in zip(alone, pool.map(given, sounds), strict=True))


@needs_opensmile
def test_failed_run_discards_extractor(monkeypatch: pytest.MonkeyPatch) -> None:
    given, x = find_feature_set("IS09_emotion"), voice(0.5)
    good = given(x)

    def broken(extractor: object, samples: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(smile, "_run", broken)
        with pytest.raises(KeyboardInterrupt):
            given(x)
    assert ("IS09_emotion", RATE) not in smile._open.extractors
    assert np.array_equal(given(x), good)


@needs_opensmile
def test_other_process_equals(tmp_path: Path) -> None:
    given = find_feature_set("IS10_paraling")
    (tmp_path / "set").write_bytes(pickle.dumps(given))
    np.save(tmp_path / "x.npy", voice(0.5))
    code = (
        "import pathlib, pickle, sys, numpy\n"
        "given = pickle.loads(pathlib.Path('set').read_bytes()); x = numpy.load('x.npy')\n"
        "numpy.save('row.npy', given(x)); given(x[:50]); print(given.digest)\n"
        "assert not {'pandas', 'opensmile', 'audinterface'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == (f"{given.digest}\n", "")
    assert np.array_equal(np.load(tmp_path / "row.npy"), given(voice(0.5)))
    assert {path.name for path in tmp_path.iterdir()} == {"set", "x.npy", "row.npy"}  # no log of openSMILE's


@needs_opensmile
def test_digest_includes_version(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = {find_feature_set(name).digest for name in SIZES}
    assert len(digests) == len(SIZES)
    before = find_feature_set("emobase").digest
    assert before == find_feature_set("emobase").digest
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99")
    assert find_feature_set("emobase").digest != before


def test_missing_extra_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(smile, "_open", type("Empty", (), {})())
    for cached in (smile._core_folder, smile._binding, smile.columns):
        cached.cache_clear()
    given: FeatureSet = FeatureSet(
        name="emobase",
        kind="vector",
        description="",
        source="",
        names=lambda: smile.columns("emobase"),
        compute=lambda x, rate: smile.compute(x, rate, name="emobase"),
        depends=smile.depends,
    )
    for ask in (lambda: given.columns, lambda: given(voice()), lambda: given.digest):
        with pytest.raises(MissingExtraError, match=r"-m pip install .*\[opensmile\]'"):
            ask()


def test_they_take_no_overrides() -> None:
    with pytest.raises(ConfigError, match="no overrides"):
        find_feature_set("emobase", {"window": 400})
