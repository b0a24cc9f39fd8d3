"""The server adapts timelines and live sessions as the library does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient

import emovox
from emovox.audio import SAMPLE_RATE
from emovox.inference.recognizer import Recognizer
from emovox.server.app import create_app
from emovox.server.schemas import TimelineAnswer
from emovox.server.session import Session, SessionModel, advance
from emovox.server.settings import ServerSettings
from speech import talk, wav

SIDES = wav(np.stack([talk(), talk()[::-1]], axis=1), subtype="PCM_16")


@pytest.fixture(scope="module")
def model(adaptive_bundle: Path) -> Recognizer:
    return emovox.load(adaptive_bundle)


@pytest.fixture(scope="module")
def client(adaptive_bundle: Path, tiny_bundle: Path) -> Iterator[TestClient]:
    settings = ServerSettings(models=(str(adaptive_bundle), str(tiny_bundle)))
    with TestClient(create_app(settings)) as opened:
        yield opened


def test_timeline_adapts_each_channel(client: TestClient, model: Recognizer) -> None:
    answer = client.post("/v1/timeline?adapt=true&channels=each", content=SIDES).json()
    TimelineAnswer.model_validate(answer, strict=True)
    segments = [each.to_dict() for each in model.timeline(SIDES, channels="each", adapt=True)]
    assert answer["segments"] == segments
    assert any("adaptation" in row for row in segments)
    raw = client.post("/v1/timeline?channels=each", content=SIDES).json()["segments"]
    assert not any("adaptation" in row for row in raw)


def test_model_without_adaptation_is_refused(client: TestClient, tiny_bundle: Path) -> None:
    answer = client.post("/v1/timeline", params={"adapt": "true", "model": str(tiny_bundle)}, content=SIDES)
    assert answer.status_code == 400
    assert "cannot use a voice profile" in answer.json()["error"]["message"]


@pytest.mark.parametrize("chunk", [3_001, 10**6])
def test_live_session_adapts(model: Recognizer, chunk: int) -> None:
    x = np.rint(talk() * 32767).astype("<i2")
    session = Session(lambda start: SessionModel("adaptive", model))
    frames: list[str | bytes] = [json.dumps({"type": "start", "rate": SAMPLE_RATE, "adapt": True})]
    data = x.tobytes()
    frames += [data[at : at + chunk] for at in range(0, len(data), chunk)]
    frames.append(json.dumps({"type": "flush"}))
    found: list[dict[str, Any]] = []
    for frame in frames:
        work, is_last = session.receive(frame), False
        while not is_last:
            messages, is_last = advance(work)
            found += messages
    segments = [{k: v for k, v in row.items() if k != "type"} for row in found if row["type"] == "segment"]
    assert segments == [each.to_dict() for each in model.timeline(x, sample_rate=SAMPLE_RATE, adapt=True)]
