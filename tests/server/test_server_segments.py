"""Segments of a label file over HTTP, and answers as label files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

import emovox
from emovox.inference.recognizer import Recognizer
from emovox.results import csv_header
from emovox.server.app import create_app
from emovox.server.schemas import ErrorAnswer, PredictAnswer
from emovox.server.settings import ServerSettings
from emovox.transcripts import LABEL_FORMATS, MEDIA_TYPES
from emovox.transcripts.reading import read_transcript
from speech import talk, wav

TALK = wav(talk(), subtype="PCM_16")
SRT = (
    b"1\n00:00:00,400 --> 00:00:04,000\n[Anna]: Hi <b>there</b>\n\n"
    b"2\n00:00:06,500 --> 00:00:09,340\n[Bo]: <script>alert(1)</script>\n\n"
    b"3\n00:00:xx --> 00:00:09,000\nbad\n\n4\n00:01:00,000 --> 00:01:01,000\n[Bo]: late\n"
)


@pytest.fixture(scope="module")
def model(make_bundle: Callable[..., Path]) -> Recognizer:
    return emovox.load(make_bundle(seed=3, temperature=1.5))


@pytest.fixture(scope="module")
def client(model: Recognizer) -> Iterator[TestClient]:
    assert model._bundle.path is not None
    settings = ServerSettings(models=(str(model._bundle.path),), max_seconds=30.0)
    with TestClient(create_app(settings)) as opened:
        yield opened


def post(client: TestClient, segments: bytes = SRT, query: str = "", **headers: str) -> Any:
    files = {"file": ("call.wav", TALK), "segments": ("call.srt", segments)}
    return client.post(f"/v1/predict{query}", files=files, headers=headers)


def test_segments_are_rows_as_the_library_has_them(client: TestClient, model: Recognizer) -> None:
    answer = post(client).json()
    PredictAnswer.model_validate(answer)
    found = model.predict_segments(TALK, read_transcript(SRT).segments)
    assert answer["predictions"] == [one.with_file("call.wav").to_dict() for one in found]
    assert [row["speaker"] for row in answer["predictions"]] == ["Anna", "Bo", "Bo"]
    assert "after the end" in answer["predictions"][2]["error"]
    assert [row["speaker"] for row in answer["speakers"]] == ["Anna", "Bo"]
    assert answer["speakers"][1]["n_failed"] == 1
    assert len(answer["problems"]) == 1
    assert "line 10" in answer["problems"][0]


@pytest.mark.parametrize("name", list(LABEL_FORMATS))
def test_segments_in_every_format(client: TestClient, name: str) -> None:
    by_query = post(client, query=f"?format={name}")
    by_accept = post(client, accept=f"{MEDIA_TYPES[name]};q=0.9, */*;q=0.1")
    for answer in (by_query, by_accept):
        assert answer.headers["content-type"].startswith(MEDIA_TYPES[name])
        found = read_transcript(answer.content).segments
        assert sorted((one.start_s, one.end_s) for one in found) == [(0.4, 4.0), (6.5, 9.34)]
        if name in ("vtt", "eaf"):
            assert b"<script>" not in answer.content


@pytest.mark.parametrize("name", list(LABEL_FORMATS))
def test_timeline_in_every_format(client: TestClient, name: str) -> None:
    rows = client.post("/v1/timeline", content=TALK).json()["segments"]
    answer = client.post("/v1/timeline", content=TALK, headers={"accept": MEDIA_TYPES[name]})
    found = read_transcript(answer.content).segments
    assert sorted((one.start_s, one.end_s) for one in found) == [
        (row["start_s"], row["end_s"]) for row in rows
    ]
    written = client.post(f"/v1/labels?format={name}", json={"segments": rows})
    assert written.headers["content-type"].startswith(MEDIA_TYPES[name])
    again = read_transcript(written.content).segments
    assert [(one.start_s, one.end_s) for one in again] == [(one.start_s, one.end_s) for one in found]


def test_many_problems_are_counted(client: TestClient) -> None:
    answer = post(client, b"1\t2\tgood\n" + b"bad\n" * 150).json()
    assert len(answer["problems"]) == 101
    assert answer["problems"][-1] == "and 50 more"


def test_csv_and_json_lines(client: TestClient, model: Recognizer) -> None:
    rows = post(client).json()["predictions"]
    lines = post(client, query="?format=jsonl").text.splitlines()
    assert [json.loads(line) for line in lines] == rows
    table = post(client, accept="text/csv").text
    assert table.startswith(csv_header(model.labels, transcript=True))
    assert len(read_transcript(table.encode()).segments) == 3
    timeline = client.post("/v1/timeline?format=jsonl", content=TALK).text.splitlines()
    assert [json.loads(line) for line in timeline] == client.post("/v1/timeline", content=TALK).json()[
        "segments"
    ]


def test_defaults_are_json_whatever_is_accepted(client: TestClient) -> None:
    for accept in ("*/*", "text/html,application/xhtml+xml", ""):
        assert client.post("/v1/timeline", content=TALK, headers={"accept": accept}).json()["segments"]
        assert post(client, accept=accept).json()["predictions"]
    assert (
        "event: end"
        in client.post("/v1/timeline", content=TALK, headers={"accept": "text/event-stream"}).text
    )


def refusal(answer: Any, status: int, code: str) -> str:
    assert answer.status_code == status, answer.text
    error = ErrorAnswer.model_validate(answer.json()).error
    assert error.code == code
    return error.message


def test_what_is_refused(client: TestClient) -> None:
    assert "expected SRT" in refusal(post(client, b"hello"), 400, "bad_segments")
    assert "tier" in refusal(post(client, query="?tier=x"), 400, "bad_segments")
    refusal(post(client, query="?adapt=true"), 400, "bad_profile")
    refusal(post(client, query="?channels=each"), 400, "bad_form")
    refusal(post(client, query="?format=docx"), 400, "bad_argument")
    many = "".join(f"{n},{n + 1}\n" for n in range(10_001))
    assert "10001 segments" in refusal(post(client, f"start,end\n{many}".encode()), 413, "too_long")
    overlaps = "0,20\n" * 4
    assert "80 s" in refusal(post(client, f"start,end\n{overlaps}".encode()), 413, "too_long")
    assert len(post(client, b"start,end\n1,1000000\n").json()["predictions"]) == 1
    for query in ("?format=srt", "?tier=x"):
        text = refusal(client.post(f"/v1/predict{query}", content=TALK), 400, "bad_argument")
        assert "segments" in text
    files = [("file", TALK), ("file", TALK), ("segments", SRT)]
    refusal(client.post("/v1/predict", files=files), 400, "bad_form")
    refusal(client.post("/v1/predict", files=[("segments", SRT)]), 400, "empty")
    files = [("file", TALK), ("segments", SRT), ("segments", SRT)]
    refusal(client.post("/v1/predict", files=files), 413, "bad_form")


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[",
        b'{"segments": [{"start_s": NaN, "end_s": 1}]}',
        b'{"segments": [{"start_s": -1, "end_s": 1}]}',
        b'{"segments": [{"start_s": 0, "end_s": 1e300}]}',
        b'{"segments": [{"start_s": 0}]}',
        b'{"segments": [{"start_s": 0, "end_s": 1, "channel": "x"}]}',
    ],
)
def test_labels_of_wrong_bodies(client: TestClient, body: bytes) -> None:
    refusal(client.post("/v1/labels?format=srt", content=body), 400, "bad_body")
