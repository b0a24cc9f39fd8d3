"""A live voice through the client: what the library says of the same sound, and errors with their words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

import emovox
from emovox.client import live
from emovox.errors import AudioValueError, ConfigError, LabelError, ServerError
from emovox.inference.recognizer import Recognizer
from emovox.results import Segment, Window
from emovox.server.app import create_app
from emovox.server.settings import ServerSettings
from serving import serving

RATE = 16_000
Results = list[Window | Segment]


@pytest.fixture(scope="module")
def model(tiny_bundle: Path) -> Recognizer:
    return emovox.load(tiny_bundle)


@pytest.fixture(scope="module")
def url(model: Recognizer) -> Iterator[str]:
    with serving(create_app(ServerSettings(api_key="secret"), lambda name: model)) as (port, _):
        yield f"http://127.0.0.1:{port}"


def talk() -> np.ndarray:
    t = np.arange(3 * RATE) / RATE
    vowel = sum(np.sin(2 * np.pi * 130 * k * t) / k for k in range(1, 25)) * (0.55 - 0.45 * np.cos(25 * t))
    x = np.concatenate([vowel, np.zeros(RATE), vowel[::-1]])
    return np.rint(9000 * x / np.abs(x).max()).astype("<i2")


TALK = talk()


def rounded(results: Results) -> Results:
    """As they travel."""
    return [type(each).from_dict(each.to_dict()) for each in results]


def here(model: Recognizer, **named: object) -> Results:
    stream = model.stream(sample_rate=RATE, **named)  # type: ignore[arg-type]
    return rounded(stream.push(TALK) + stream.flush())


def test_it_says_what_the_library_says(url: str, model: Recognizer) -> None:
    wanted = here(model)
    for size in (700, 16_000, len(TALK)):
        with live(url, sample_rate=RATE, api_key="secret") as voice:
            found: Results = []
            for at in range(0, len(TALK), size):
                found += voice.push(TALK[at : at + size])
            found += voice.flush()
            assert voice.duration_s == len(TALK) / RATE
            assert voice.flush() == []
        assert found == wanted
        assert (voice.labels, voice.model) == (model.labels, f"default {model.spec.version}")
    assert any(isinstance(each, Segment) for each in wanted)


def test_its_arguments_arrive(url: str, model: Recognizer) -> None:
    named = {"window_s": 2.0, "hop_s": 0.5, "labels": "sad,happy", "vad": "off"}
    with live(url, sample_rate=RATE, encoding="float32", api_key="secret", **named) as voice:  # type: ignore[arg-type]
        found = voice.push((TALK / 32768).astype("<f4")) + voice.flush()
        assert (voice.window_s, voice.hop_s, voice.labels) == (2.0, 0.5, ("sad", "happy"))
    assert found == here(model, **named)


def test_a_long_sound_at_once(url: str, model: Recognizer) -> None:
    x = np.tile(TALK, 20)
    with live(url, sample_rate=RATE, hop_s=0.25, api_key="secret") as voice:
        found = voice.push(x.tobytes()) + voice.flush()
    ends = [each.end_s for each in found if isinstance(each, Window)]
    np.testing.assert_allclose(ends, np.arange(1, 140 * 4 + 1) / 4)


def test_refusals_have_their_words(url: str) -> None:
    with pytest.raises(ServerError, match="API key is needed") as caught, live(url, sample_rate=RATE):
        pass
    assert caught.value.code == "unauthorized"
    with (
        pytest.raises(LabelError, match="joyous"),
        live(url, sample_rate=RATE, labels=["joyous"], api_key="secret"),
    ):
        pass
    with (
        live(url, sample_rate=RATE, encoding="float32", api_key="secret") as voice,
        pytest.raises(AudioValueError, match="finite"),
    ):
        voice.push(np.full(10, np.nan, "<f4")) + voice.flush()


def test_wrong_samples_are_not_sent(url: str) -> None:
    with live(url, sample_rate=RATE, api_key="secret") as voice:
        for wrong in (np.zeros(3, "<f4"), np.zeros((3, 2), "<i2")):
            with pytest.raises(AudioValueError, match="pcm16"):
                voice.push(wrong)
        voice.flush()
        with pytest.raises(AudioValueError, match="flushed"):
            voice.push(b"")


def test_views_are_heard_as_their_copies(url: str) -> None:
    stereo = np.stack([TALK, -TALK], axis=1)
    said = []
    for samples in (TALK, stereo[:, 0], TALK[::-1].copy()[::-1]):
        with live(url, sample_rate=RATE, api_key="secret") as voice:
            said.append(voice.push(samples) + voice.push(samples[:0]) + voice.flush())
    assert said[0] == said[1] == said[2]


def test_numpys_numbers_are_numbers(url: str) -> None:
    rate, window_s, hop_s = np.int64(RATE), np.float32(2), np.float32(0.5)
    with live(url, sample_rate=rate, window_s=window_s, hop_s=hop_s, api_key="secret") as voice:  # type: ignore[arg-type]
        assert (voice.window_s, voice.hop_s) == (2.0, 0.5)


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (AudioValueError, {"sample_rate": "16000"}),
        (AudioValueError, {"sample_rate": 16000.5}),
        (ConfigError, {"sample_rate": RATE, "window_s": "long"}),
        (ConfigError, {"sample_rate": RATE, "hop_s": [0.5]}),
    ],
)
def test_what_is_no_number(kind: type[Exception], named: dict[str, Any]) -> None:
    name = list(named)[-1]
    with pytest.raises(kind, match=f"{name} is .*expected"), live("http://127.0.0.1:9", **named):
        pass


def test_nobody_there() -> None:
    with (
        pytest.raises(ServerError, match="no emovox server") as caught,
        live("http://127.0.0.1:9", sample_rate=RATE),
    ):
        pass
    assert caught.value.code == "unreachable"


def test_rows_come_back_as_they_were(model: Recognizer) -> None:
    said = model.predict(TALK, sample_rate=RATE)
    back = replace(emovox.Prediction.from_dict(said.to_dict()), model=said.model)
    assert back.to_dict() == said.to_dict()
    assert replace(back, scores={}, confidence=None, quality=None) == replace(
        said, scores={}, confidence=None, quality=None
    )
    failed = emovox.Prediction(label=None, file="a.wav", error="no sound")
    assert emovox.Prediction.from_dict(failed.to_dict()) == failed
