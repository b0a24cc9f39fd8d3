"""Statistics of a corpus against counts by hand and sound of known length and level."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from emovox.datasets import Manifest, Utterance
from emovox.datasets.statistics import corpus_stats, measure_clips, summarize
from emovox.reports.corpus import corpus_html


def noise(path: Path, seconds: float, *, gain: float = 0.1, seed: int = 0) -> None:
    x = np.random.default_rng(seed).standard_normal(round(16_000 * seconds))
    turns = np.sin(2 * np.pi * (1 + seed) * np.arange(x.size) / 16_000)
    soundfile.write(path, np.clip(gain * x * turns, -1, 1), 16_000)


def row(key: str, emotion: str = "happy", speaker: str = "1", **more: object) -> Utterance:
    return Utterance(f"m/{key}", f"{key}.wav", "m", f"m-{speaker}", emotion, emotion, **more)  # type: ignore[arg-type]


@pytest.fixture
def corpus(tmp_path: Path) -> Manifest:
    noise(tmp_path / "a.wav", 1.0)
    noise(tmp_path / "b.wav", 2.0, seed=1)
    soundfile.write(tmp_path / "copy.wav", soundfile.read(tmp_path / "b.wav")[0] * 0.5, 16_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), 16_000)
    soundfile.write(tmp_path / "loud.wav", np.sign(np.sin(np.arange(16_000) / 9)), 16_000)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    rows = (
        row("a", "happy", "1", sex="female", age=20, language="en", text="t1"),
        row("b", "sad", "2", sex="male", age=41, text="t1"),
        row("copy", "sad", "2", sex="male", age=41, text="t2"),
        row("silent", "sad", "3"),
        row("loud", "angry", "3"),
        row("bad", "angry", "3"),
        Utterance("m/part", "a.wav", "m", "m-1", "happy", "happy", start=0.25, end=0.75),
        Utterance("m/after", "a.wav", "m", "m-1", "happy", "happy", start=5.0),
    )
    return Manifest(tmp_path, rows)


def test_counts(corpus: Manifest) -> None:
    found = corpus_stats(corpus)
    assert (found.n_clips, found.n_speakers, found.n_texts) == (8, 3, 2)
    assert found.counts["emotion"] == {"happy": 3, "sad": 3, "angry": 2}
    assert found.counts["sex"] == {"unknown": 5, "male": 2, "female": 1}
    assert found.counts["language"] == {"unknown": 7, "en": 1}
    assert found.per_speaker["m-2"] == {"sad": 2}
    assert found.by_sex["sad"] == {"male": 2, "unknown": 1}
    assert found.ages is not None
    assert (found.ages.n, found.ages.low, found.ages.high) == (2, 20, 41)
    assert found.duration_s is None
    assert found.copies is None
    for name, counts in found.counts.items():
        assert sum(counts.values()) == 8, name


def test_sound(corpus: Manifest) -> None:
    seen: list[int] = []
    heard, failed = measure_clips(corpus, workers=3, progress=seen.append)
    found = corpus_stats(corpus, heard, failed)
    assert seen == list(range(1, 9))
    assert set(failed) == {"m/bad", "m/after"}
    assert found.failed == tuple(failed.items())
    assert {key: one.duration_s for key, one in heard.items()} == {
        "m/a": 1.0,
        "m/b": 2.0,
        "m/copy": 2.0,
        "m/silent": 0.5,
        "m/loud": 1.0,
        "m/part": 0.5,
    }
    x = soundfile.read(corpus.root / "a.wav")[0]
    assert heard["m/a"].level_dbfs == pytest.approx(10 * math.log10(np.mean(x**2)), abs=1e-4)
    assert found.silent == ("m/silent",)
    assert found.n_clipped == 1
    assert found.duration_s is not None
    assert found.duration_s.total == 7.0
    assert found.level_dbfs is not None
    assert found.level_dbfs.n == 5
    assert {frozenset((c.one, c.other)) for c in found.copies or ()} == {
        frozenset(("m/b", "m/copy")),
        frozenset(("m/a", "m/part")),
    }


def test_page_counts_known_speakers(corpus: Manifest) -> None:
    def summary(*speakers: str) -> str:
        rows = tuple(Utterance(f"m/{n}", "a.wav", "m", who, "sad", "sad") for n, who in enumerate(speakers))
        return corpus_html(corpus_stats(Manifest(corpus.root, rows)).to_dict())

    assert "2 clips, 1 speaker in" in summary("m-anna", "m-anna")
    assert "2 clips, 2 speakers in" in summary("m-anna", "m-ben")
    assert "2 clips, unknown speakers in" in summary("m-unknown", "m-unknown")


def test_document_and_page(corpus: Manifest) -> None:
    evil = Utterance("m/<b>", "a.wav", "m", "m-<script>alert(1)</script>", "sad", "sad", intensity="\udcff")
    heard, failed = measure_clips(corpus)
    for manifest, sound in (
        (corpus, heard),
        (Manifest(corpus.root, (*corpus, evil)), None),
        (Manifest(Path("x")), {}),
    ):
        document = json.loads(json.dumps(corpus_stats(manifest, sound, failed if sound else None).to_dict()))
        page = corpus_html(document)
        assert page.startswith("<!doctype html>")
        assert page.encode()
        assert "<script>" not in page
        assert not re.search(r"https?://(?!www\.w3\.org/)", page), "a page loads nothing"
        assert page.count("<svg") == page.count("</svg>")
    assert "m/copy" in corpus_html(corpus_stats(corpus, heard, failed).to_dict())


@given(st.lists(st.integers(-(10**9), 10**9).map(lambda n: n / 1000), min_size=1, max_size=60))
def test_histogram_counts_every_value(values: list[float]) -> None:
    found = summarize(values)
    assert found is not None
    assert sum(found.counts) == len(values)
    assert len(found.edges) == len(found.counts) + 1
    assert found.low <= found.p5 <= found.median <= found.p95 <= found.high
    assert found.median == pytest.approx(float(np.median(values)), rel=1e-9, abs=1e-9)
    assert found.p95 == pytest.approx(float(np.quantile(values, 0.95)), rel=1e-9, abs=1e-9)
    width = found.edges[1] - found.edges[0]
    assert found.edges[0] <= found.low + 1e-6 * width
    assert found.high <= found.edges[-1] + 1e-6 * width
    assert len(found.counts) <= 22


def test_no_values_no_distribution() -> None:
    assert summarize([]) is None
