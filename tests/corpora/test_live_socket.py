"""Real voices over a real socket: the segments of the whole recording, however the messages were cut."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")

import emovox
from emovox.audio import read
from emovox.client import live
from emovox.inference.recognizer import Recognizer
from emovox.results import Segment
from emovox.server.app import create_app
from emovox.server.settings import ServerSettings
from serving import serving

RATE = 16_000
CLIPS = {
    "ravdess": "Actor_*/03-01-0[3-6]-02-02-01-*.*",
    "emodb": "wav/0*W*.*",
    "tess": "OAF_*/OAF_b*_*.*",
    "nemo": "samples/*.*",
}

pytestmark = pytest.mark.corpora


@pytest.fixture(scope="module")
def model() -> Recognizer:
    return emovox.load()


@pytest.fixture(scope="module")
def url(model: Recognizer) -> Iterator[str]:
    with serving(create_app(ServerSettings(), lambda name: model)) as (port, _):
        yield f"http://127.0.0.1:{port}"


def talk(corpus: str) -> np.ndarray:
    """About a minute of a corpus as int16, clip after clip, with pauses."""
    if not (root := os.environ.get("EMOVOX_CORPORA")):
        pytest.skip("EMOVOX_CORPORA does not say where the corpora are")
    folder = Path(root) / corpus
    dice = np.random.default_rng(7)
    files = sorted(folder.glob(CLIPS[corpus]))
    assert len(files) >= 20
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < 60 * RATE:
        sound = np.rint(read(files[dice.integers(len(files))]) * 32767).astype("<i2")
        parts += [sound, np.zeros(dice.integers(0, RATE), "<i2")]
    return np.concatenate(parts)


def said(results: list[object]) -> list[dict[str, object]]:
    return [each.to_dict() for each in results if isinstance(each, Segment)]


@pytest.mark.parametrize("corpus", CLIPS)
def test_pcm16(url: str, model: Recognizer, corpus: str) -> None:
    x, dice = talk(corpus), np.random.default_rng(0)
    wanted = [each.to_dict() for each in model.timeline(x, sample_rate=RATE)]
    assert len(wanted) > 2
    for largest in (1000, 50_000):
        with live(url, sample_rate=RATE) as voice:
            found: list[object] = []
            at = 0
            while at < 2 * len(x):
                size = int(dice.integers(1, largest))
                found += voice.push(x.tobytes()[at : at + size])
                at += size
            found += voice.flush()
        assert said(found) == wanted


@pytest.mark.parametrize("corpus", CLIPS)
def test_webm(url: str, model: Recognizer, corpus: str) -> None:
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="webm", options={"live": "1"}) as container:
        track = container.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(talk(corpus)[np.newaxis], "s16", "mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler("s16", "mono", 48_000)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(track.encode(part))
    data, dice = file.getvalue(), np.random.default_rng(0)
    wanted = [each.to_dict() for each in model.timeline(data)]
    with live(url, encoding="webm") as voice:
        found: list[object] = []
        at = 0
        while at < len(data):
            size = int(dice.integers(1, 3000))
            found += voice.push(data[at : at + size])
            at += size
        found += voice.flush()
    assert said(found) == wanted
    assert len(wanted) > 2
