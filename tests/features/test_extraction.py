"""Features of many recordings: what the set gives of each, in order, whatever the store or the workers do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from emovox import audio
from emovox.datasets import Manifest
from emovox.datasets.manifest import Utterance
from emovox.errors import AudioValueError, ConfigError
from emovox.features import FeatureSet, extraction, find_feature_set
from emovox.features.cache import CacheStats, FeatureCache
from emovox.features.extraction import Clip, Windows, extract, list_clips

RATE = 16_000
SEED = find_feature_set("seed-180")
FRAMES = find_feature_set("seed-lstm", {"mfcc.top_db": None})


def write(path: Path, seconds: float = 0.4, *, seed: int = 0) -> Path:
    """A buzz of a pitch of its own."""
    t = np.arange(round(seconds * RATE)) / RATE
    x = 0.1 * np.sign(np.sin(2 * np.pi * (110 + 17 * seed) * t))
    x += 0.01 * np.random.default_rng(seed).standard_normal(t.size)
    soundfile.write(path, x, RATE)
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six recordings; read them, do not change them."""
    root = tmp_path_factory.mktemp("clips")
    return [write(root / f"clip {i}.wav", 0.3 + 0.1 * i, seed=i) for i in range(6)]


def expected(paths: list[Path], chosen: FeatureSet = SEED) -> np.ndarray:
    return np.stack([chosen(audio.read(path)) for path in paths])


# ------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize("workers", [1, 2])
def test_row_equals_set(clips: list[Path], workers: int) -> None:
    told: list[tuple[int, int]] = []
    found = extract(clips, "seed-180", workers=workers, progress=lambda done, of: told.append((done, of)))
    np.testing.assert_array_equal(found.values, expected(clips))
    assert found.ids == tuple(map(str, clips))
    assert found.columns == SEED.columns
    assert found.reference == SEED.reference()
    assert found.errors == {}
    assert found.ok.all()
    assert told == [(i, 6) for i in range(1, 7)]


def test_failed_clip_has_error(clips: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    found = extract([clips[0], tmp_path / "gone.wav", tmp_path / "empty.wav", clips[1]], SEED)
    assert np.isnan(found.values[1:3]).all()
    np.testing.assert_array_equal(found.values[[0, 3]], expected(clips[:2]))
    assert found.ok.tolist() == [True, False, False, True]
    assert "no such file" in found.errors[str(tmp_path / "gone.wav")]
    assert "empty" in found.errors[str(tmp_path / "empty.wav")]


def test_errors_with_cache(clips: list[Path], tmp_path: Path) -> None:
    (tmp_path / "noise.wav").write_bytes(b"no sound at all")
    paths = [tmp_path / "gone.wav", tmp_path / "noise.wav", tmp_path]
    assert extract(paths, SEED, cache=FeatureCache(tmp_path / "s")).errors == extract(paths, SEED).errors


def test_manifest_clips(clips: list[Path]) -> None:
    about = {"corpus": "c", "speaker": "s", "emotion": "angry", "original": "a"}
    rows = [
        Utterance(id="c/1", path=clips[4].name, start=0.1, end=0.5, **about),
        Utterance(id="c/2", path=clips[5].name, **about),
    ]
    found = extract(Manifest(clips[0].parent, tuple(rows)), SEED)
    assert found.ids == ("c/1", "c/2")
    x = audio.read(clips[4])
    np.testing.assert_array_equal(found.values[0], SEED(x[1600:8000]))
    np.testing.assert_array_equal(found.values[1:], expected(clips[5:]))


def test_stretches_of_paths(clips: list[Path]) -> None:
    found = extract([(clips[5], 0.5, None), (clips[5], None, 0.25), (clips[5], 9.0, 10.0)], SEED)
    x = audio.read(clips[5])
    np.testing.assert_array_equal(found.values[:2], np.stack([SEED(x[8000:]), SEED(x[:4000])]))
    assert found.ids[0] == f"{clips[5]}#t=0.5"
    assert found.ids[1] == f"{clips[5]}#t=0,0.25"
    assert "no sound from 9 s to 10 s; it lasts 0.8 s" in found.errors[found.ids[2]]


def test_invalid_requests_are_refused(clips: list[Path]) -> None:
    with pytest.raises(ConfigError, match="gives frames"):
        extract(clips, "seed-lstm")
    with pytest.raises(ConfigError, match="did you mean 'seed-180'"):
        extract(clips, "seed-18")
    with pytest.raises(ConfigError, match="single path"):
        extract(str(clips[0]), SEED)
    with pytest.raises(ConfigError, match="expected a path"):
        list_clips([3])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="at least one"):
        extraction.iter_features([], [])
    with pytest.raises(ConfigError, match="'vector'"):
        extraction.iter_features([], ["seed-lstm"], windows=Windows(1.0, 0.5))
    with pytest.raises(ConfigError, match="workers"):
        extraction.iter_features([], [SEED], workers=0)


# ---------------------------------------------------------------------------------------- the store


def test_second_run_uses_cache(clips: list[Path], tmp_path: Path) -> None:
    first = extract(clips, SEED, cache=FeatureCache(tmp_path))
    again = extract(clips, SEED, cache=FeatureCache(tmp_path))
    assert first.stats == CacheStats(made=6)
    assert again.stats == CacheStats(found=6)
    assert again.values.tobytes() == first.values.tobytes() == expected(clips).tobytes()


def test_cache_keeps_nan_and_frames(clips: list[Path], tmp_path: Path) -> None:
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(8000), RATE)
    both = ["seed-full", "seed-hybrid"]
    runs = [
        list(extraction.iter_features(list_clips([silence]), both, cache=FeatureCache(tmp_path / "s")))
        for _ in range(2)
    ]
    for (first,), (again,) in [runs]:
        assert again.stats == CacheStats(found=2)
        assert first.n_samples == again.n_samples == 8000
        assert np.isnan(first.values[0]).any()  # silence has no F0
        for a, b in zip(first.values, again.values, strict=True):
            assert a.shape == b.shape
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize(
    "change",
    [
        find_feature_set("seed-180", {"mfcc.n_mfcc": 13}),
        find_feature_set("seed-180", {"hop": 256}),
        replace(SEED, version=SEED.version + 1),
    ],
)
def test_parameters_change_the_entry(clips: list[Path], tmp_path: Path, change: FeatureSet) -> None:
    extract(clips[:2], SEED, cache=FeatureCache(tmp_path))
    other = extract(clips[:2], change, cache=FeatureCache(tmp_path))
    assert other.stats == CacheStats(made=2)
    np.testing.assert_array_equal(other.values, expected(clips[:2], change))


def test_content_changes_the_entry(clips: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "clip.wav"
    for source, tally in ((0, CacheStats(made=1)), (1, CacheStats(made=1)), (0, CacheStats(found=1))):
        file.write_bytes(clips[source].read_bytes())
        found = extract([file], SEED, cache=FeatureCache(tmp_path / "s"))
        assert found.stats == tally
        np.testing.assert_array_equal(found.values, expected([clips[source]]))


def test_span_and_window_change_the_entry(clips: list[Path], tmp_path: Path) -> None:
    store = FeatureCache(tmp_path)
    stretches = [(clips[5], None, None), (clips[5], 0.1, None), (clips[5], 0.1, 0.4), (clips[5], None, 0.4)]
    assert extract(stretches, SEED, cache=store).stats == CacheStats(made=4)
    for windows in (Windows(0.4, 0.2), Windows(0.4, 0.1)):
        (one,) = extraction.iter_features(list_clips([clips[5]]), [SEED], cache=store, windows=windows)
        assert one.stats == CacheStats(made=1)


def test_damaged_entry_is_recomputed(clips: list[Path], tmp_path: Path) -> None:
    extract(clips, SEED, cache=FeatureCache(tmp_path))
    file = sorted(tmp_path.rglob("*.evf"))[3]
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    found = extract(clips, SEED, cache=FeatureCache(tmp_path))
    assert found.stats == CacheStats(found=5, made=1, corrupt=1)
    np.testing.assert_array_equal(found.values, expected(clips))
    assert extract(clips, SEED, cache=FeatureCache(tmp_path)).stats == CacheStats(found=6)


def test_full_cache_computes_everything(clips: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = extract(clips, SEED, cache=FeatureCache(tmp_path / "file"))
    assert found.stats == CacheStats(made=6, unwritten=6)
    np.testing.assert_array_equal(found.values, expected(clips))


def test_file_replaced_while_reading(
    clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "clip.wav"
    file.write_bytes(clips[0].read_bytes())
    read = audio.read

    def meddle(path: str) -> np.ndarray:
        file.write_bytes(clips[1].read_bytes())
        return read(path)

    monkeypatch.setattr(audio, "read", meddle)
    extract([file], SEED, cache=FeatureCache(tmp_path / "s"))
    monkeypatch.undo()
    file.write_bytes(clips[0].read_bytes())
    found = extract([file], SEED, cache=FeatureCache(tmp_path / "s"))
    np.testing.assert_array_equal(found.values, expected(clips[:1]))


def test_one_decoding_for_all_sets(clips: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read, n_read = audio.read, 0

    def counted(path: str) -> np.ndarray:
        nonlocal n_read
        n_read += 1
        return read(path)

    monkeypatch.setattr(audio, "read", counted)
    (one,) = extraction.iter_features(list_clips(clips[:1]), ["seed-180", "seed-hybrid", "seed-lstm"])
    assert [v.shape[-1] for v in one.values] == [180, 180, 13]
    assert n_read == 1


# ------------------------------------------------------------------------- several processes, killed


def command(clips: list[Path], output: Path, store: Path, *more: str) -> list[str]:
    sets = ["--set", "seed-180", "-o", str(output), "--store", str(store)]
    return [sys.executable, "-m", "emovox", "features", *map(str, clips), *sets, *more]


@pytest.fixture
def many(tmp_path: Path) -> list[Path]:
    """Enough recordings to be stopped in the middle of them."""
    return [write(tmp_path / f"{i:02}.wav", 3.0, seed=i) for i in range(40)]


def entries(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.rglob("*.evf")}


def until(happened: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end_s
        time.sleep(0.002)


def test_killed_run_resumes(many: list[Path], tmp_path: Path) -> None:
    store, output = tmp_path / "store", tmp_path / "out.npz"
    process = subprocess.Popen(command(many, output, store, "--workers", "2"), stdout=subprocess.DEVNULL)
    until(lambda: len(entries(store)) >= 5)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = entries(store)
    assert 5 <= len(kept) < len(many)
    assert not output.exists()
    found = extract(many, SEED, cache=FeatureCache(store))
    assert found.stats.found >= len(kept)  # its workers may each have ended the clip they were at
    assert found.stats.found + found.stats.made == len(many)
    np.testing.assert_array_equal(found.values, expected(many))
    assert kept.items() <= entries(store).items()


def test_two_processes_share_a_cache(clips: list[Path], tmp_path: Path) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    extract(clips, SEED, cache=FeatureCache(alone))
    outputs = [tmp_path / f"{i}.npz" for i in range(2)]
    crew = [subprocess.Popen(command(clips, output, shared), stdout=subprocess.DEVNULL) for output in outputs]
    assert [process.wait(timeout=60) for process in crew] == [0, 0]
    assert entries(shared) == entries(alone)
    assert outputs[0].read_bytes()[-100:] == outputs[1].read_bytes()[-100:]
    for output in outputs:
        np.testing.assert_array_equal(np.load(output)["values"], expected(clips))


# ------------------------------------------------------------------------------- windows and frames


@given(
    n=st.integers(1, 400),
    window=st.integers(1, 120),
    hop=st.integers(1, 120),
    cuts=st.lists(st.integers(1, 90), min_size=1, max_size=5),
)
def test_windows_for_any_blocks(n: int, window: int, hop: int, cuts: list[int]) -> None:
    windows = Windows(window / RATE, min(hop, window) / RATE)
    x = np.arange(n, dtype=np.float32)

    def blocks() -> Iterator[np.ndarray]:
        at, i = 0, 0
        while at < n:
            yield x[at : at + cuts[i % len(cuts)]]
            at, i = at + cuts[i % len(cuts)], i + 1

    found = list(extraction._cut_windows(blocks(), windows))
    assert [start for start, _ in found] == windows.starts(n)
    for start, part in found:
        np.testing.assert_array_equal(part, x[start : start + window])
    assert {int(v) for _, part in found for v in part} == set(range(n))


def test_window_rows_equal_set(clips: list[Path]) -> None:
    windows = Windows(0.25, 0.1)
    clip = Clip("c", str(clips[5]), start_s=0.05)
    (one,) = extraction.iter_features([clip], [SEED], windows=windows)
    x = audio.read(clips[5])[800:]
    rows = [SEED(x[start : start + 4000]) for start in windows.starts(x.size)]
    assert len(rows) > 3
    assert one.n_samples == x.size
    np.testing.assert_array_equal(one.values[0], np.stack(rows))


@pytest.mark.parametrize(("window_s", "hop_s"), [(1.0, 0.0), (1.0, 2.0), (0.0, 0.0), (float("nan"), 1.0)])
def test_invalid_windows_are_refused(window_s: float, hop_s: float) -> None:
    with pytest.raises(ConfigError, match="hop <= window"):
        Windows(window_s, hop_s)


def test_iter_frames_equals_whole(tmp_path: Path) -> None:
    file = write(tmp_path / "long.wav", 32.0)
    pieces = list(extraction.iter_frames(Clip("c", str(file), start_s=1.0), FRAMES))
    assert len(pieces) > 1
    whole = FRAMES(audio.read(file)[RATE:])
    np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=1e-5, atol=1e-4)
    with pytest.raises(ConfigError, match=r"mfcc\.top_db"):
        extraction.iter_frames(Clip("c", str(file)), find_feature_set("seed-lstm"))
    with pytest.raises(AudioValueError, match="it lasts 32 s"):
        list(extraction.iter_frames(Clip("c", str(file), start_s=40.0), FRAMES))


def test_clip_duration(clips: list[Path]) -> None:
    assert extraction._duration_s(Clip("c", str(clips[0]))) == pytest.approx(0.3)
    assert extraction._duration_s(Clip("c", str(clips[0]), 0.1)) == pytest.approx(0.2)
    assert extraction._duration_s(Clip("c", "any", 10.0, 20.0)) == 10
    assert extraction._duration_s(Clip("c", "gone.wav")) is None
