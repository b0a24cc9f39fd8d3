"""The server answers as the library does, says what is wrong with all else, and is bounded at every door."""

from __future__ import annotations

import asyncio
import csv
import gc
import io
import json
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

import emovox
from conftest import tiny_features_onnx
from emovox.audio import SAMPLE_RATE
from emovox.bundles import write_bundle
from emovox.cli import main
from emovox.inference.adaptation import Profile
from emovox.inference.recognizer import Recognizer
from emovox.results import Segment, Window
from emovox.server.app import create_app
from emovox.server.schemas import (
    ErrorAnswer,
    ExplainAnswer,
    ModelsAnswer,
    PredictAnswer,
    TimelineAnswer,
)
from emovox.server.settings import ServerSettings
from speaker_model import SPEECH, speaker_spec
from speech import talk, voice, wav

KEY = "correct horse battery staple"
CLIP, TALK = wav(voice(1.5), subtype="PCM_16"), wav(talk(), subtype="PCM_16")
TWO_SIDES = wav(np.stack([talk(), talk()[::-1]], axis=1), subtype="PCM_16")


@pytest.fixture(scope="module")
def model(make_bundle: Callable[..., Path]) -> Recognizer:
    return emovox.load(make_bundle(seed=3, temperature=1.5))


def serving(model: Recognizer, **how: Any) -> TestClient:
    assert model._bundle.path is not None
    return TestClient(create_app(ServerSettings(models=(str(model._bundle.path),), **how)))


@pytest.fixture(scope="module")
def client(model: Recognizer) -> Iterator[TestClient]:
    with serving(model, max_seconds=30.0, max_upload_mb=2.0, max_files=4) as opened:
        yield opened


def told(response: Any, status: int, code: str) -> str:
    """The message of an error that is as documented."""
    assert response.status_code == status, response.text
    assert ErrorAnswer.model_validate(response.json()).error.code == code
    return str(response.json()["error"]["message"])


# ------------------------------------------------------------------------------------ whole recordings


def test_a_recording_is_judged_as_the_recogniser_does(client: TestClient, model: Recognizer) -> None:
    for sound in (CLIP, TALK):
        answer = client.post("/v1/predict", content=sound).json()
        PredictAnswer.model_validate(answer, strict=True)
        assert answer["predictions"] == [model.predict(sound).to_dict()]
        assert answer["model"] == {"name": str(model._bundle.path), "version": "1"}


def test_explanation_is_that_of_the_recogniser(client: TestClient, model: Recognizer) -> None:
    for query, more in (({}, {}), ({"label": "sad", "vad": "off"}, {"label": "sad", "vad": "off"})):
        answer = client.post("/v1/explain", files={"file": ("a.wav", CLIP)}, params=query).json()
        ExplainAnswer.model_validate(answer, strict=True)
        assert answer["explanation"] == {**model.explain(CLIP, **more).to_dict(), "file": "a.wav"}
        assert answer["model"] == {"name": str(model._bundle.path), "version": "1"}


def test_explanations_refused(client: TestClient) -> None:
    told(client.post("/v1/explain?label=nothing", content=CLIP), 400, "bad_label")
    told(client.post("/v1/explain?channels=each", content=CLIP), 400, "bad_argument")
    told(client.post("/v1/explain?labels=sad", content=CLIP), 400, "bad_argument")
    told(client.post("/v1/explain", content=b"text"), 415, "not_audio")
    told(client.post("/v1/explain", files=[("file", CLIP), ("file", CLIP)]), 400, "bad_form")
    long = np.random.default_rng(0).normal(0, 0.1, 31 * 16_000).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, long, 16_000, format="WAV")
    assert "30 s" in told(client.post("/v1/explain", content=file.getvalue()), 413, "too_long")


def test_several_are_rows_in_their_order_and_a_bad_one_is_a_row(
    client: TestClient, model: Recognizer
) -> None:
    files = [("a.wav", CLIP), ("not.wav", b"text"), ("empty.wav", b""), ("b.flac", TALK)]
    answer = client.post("/v1/predict", files=[("file", each) for each in files]).json()
    PredictAnswer.model_validate(answer)
    first, text, empty, last = answer["predictions"]
    assert first == {**model.predict(CLIP).to_dict(), "file": "a.wav"}
    assert last == {**model.predict(TALK).to_dict(), "file": "b.flac"}
    assert text.keys() == empty.keys() == {"file", "error"}
    assert "not sound" in text["error"]
    assert "empty" in empty["error"]


def test_labels_channels_and_vad_are_the_librarys(client: TestClient, model: Recognizer) -> None:
    def rows(**query: str) -> Any:
        return client.post("/v1/predict", content=TWO_SIDES, params=query).json()["predictions"]

    few = rows(labels="Happiness, sad")
    assert few == [model.predict(TWO_SIDES, labels=("happy", "sad")).to_dict()]
    assert rows(channels="each") == [each.to_dict() for each in model.predict_channels(TWO_SIDES)]
    assert rows(channels="1") == [model.predict(TWO_SIDES, channels=1).to_dict()]
    assert rows(vad="off") == [model.predict(TWO_SIDES, vad="off").to_dict()]


@pytest.mark.parametrize(
    ("name", "echoed"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\secret\\me.wav", "me.wav"),
        ("<script>alert(1)</script>.wav", "script>.wav"),
        ("x" * 300 + ".wav", "x" * 255),
        ("日本語\u202e.wav", "日本語\u202e.wav"),
        ("..", ".."),
    ],
)
def test_a_files_name_is_echoed_and_nothing_else(client: TestClient, name: str, echoed: str) -> None:
    response = client.post("/v1/predict", files=[("file", (name, CLIP))])
    assert response.headers["content-type"] == "application/json"
    assert response.json()["predictions"][0]["file"] == echoed
    assert echoed not in response.headers.values()


# ------------------------------------------------------------------------------------ along the time


def events(text: str) -> list[tuple[str, Any]]:
    found = []
    for event in text.split("\n\n")[:-1]:
        kind, data = event.split("\n")
        found.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


@pytest.mark.parametrize("channels", ["mix", "each", "1"])
def test_a_timeline_is_the_recognisers_in_every_form(
    client: TestClient, model: Recognizer, channels: str
) -> None:
    query = {"channels": channels, "window": "2", "hop": "0.5"}
    expected = model.timeline(TWO_SIDES, channels=channels, window_s=2, hop_s=0.5)
    segments = sorted((each.to_dict() for each in expected), key=str)
    answer = client.post("/v1/timeline", content=TWO_SIDES, params=query).json()
    TimelineAnswer.model_validate(answer, strict=True)
    assert "windows" not in answer
    assert sorted(answer["segments"], key=str) == segments
    assert len(segments) > 2
    assert answer["duration_s"] == pytest.approx(len(talk()) / SAMPLE_RATE, abs=1e-3)

    streamed = client.post("/v1/timeline", content=TWO_SIDES, params={**query, "format": "sse"})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    *found, (last, end) = events(streamed.text)
    assert found == [("segment", row) for row in answer["segments"]]
    assert (last, end) == ("end", {"duration_s": answer["duration_s"], "n_segments": len(segments)})


def test_windows_are_those_of_a_stream(client: TestClient, model: Recognizer) -> None:
    stream = model.stream(sample_rate=SAMPLE_RATE)
    sound = soundfile.read(io.BytesIO(TALK), dtype="float32")[0]
    both = stream.push(sound) + stream.flush()
    windows = [{"channel": None, **each.to_dict()} for each in both if isinstance(each, Window)]
    segments = [each.to_dict() for each in both if isinstance(each, Segment)]
    answer = client.post("/v1/timeline?windows=true", content=TALK).json()
    TimelineAnswer.model_validate(answer, strict=True)
    assert (answer["windows"], answer["segments"]) == (windows, segments)
    found = events(client.post("/v1/timeline?windows=true&format=sse", content=TALK).text)
    assert [row for kind, row in found if kind == "window"] == windows


def test_csv_is_what_the_command_writes(
    client: TestClient, model: Recognizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silence = np.zeros_like(talk())
    for sound in (TALK, wav(np.stack([talk(), silence], axis=1), subtype="PCM_16")):
        (tmp_path / "call.wav").write_bytes(sound)
        argv = ["--timeline", "--format", "csv", "--channels", "each", "--model", str(model._bundle.path)]
        assert main(["predict", str(tmp_path / "call.wav"), *argv]) == 0
        written = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        answer = client.post(
            "/v1/timeline?format=csv&channels=each", files={"file": (str(tmp_path / "call.wav"), sound)}
        )
        assert answer.headers["content-type"].startswith("text/csv")
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert rows == [{**row, "file": "call.wav"} for row in written]
        assert len(rows) > 2


def test_events_come_while_it_is_computed_and_an_error_is_one(client: TestClient) -> None:
    long = wav(np.concatenate([talk(), talk()])[: 31 * SAMPLE_RATE], subtype="PCM_16")  # 30 s may be
    found = events(client.post("/v1/timeline?format=sse", content=long).text)
    assert [kind for kind, _ in found][-2:] == ["segment", "error"]  # what was known by then is told
    assert found[-1][1]["error"]["code"] == "too_long"
    for form in ("json", "csv"):
        assert "30 s" in told(client.post(f"/v1/timeline?format={form}", content=long), 413, "too_long")
    told(client.post("/v1/timeline?format=sse", content=b"no sound"), 415, "not_audio")


# ------------------------------------------------------------------------------------ a voice's profile


def test_a_profile_is_sent_or_named(tmp_path_factory: pytest.TempPathFactory, model: Recognizer) -> None:
    folder = tmp_path_factory.mktemp("profiles")
    write_bundle(folder / "bundle", tiny_features_onnx(180), speaker_spec())
    knows = emovox.load(folder / "bundle")
    me = knows.enroll(SPEECH[:2], sample_rate=SAMPLE_RATE)
    me.save(folder / "me-1.json")
    (folder / "not.json").write_text("{}")
    clip = wav(SPEECH[2])
    both = ServerSettings(models=(str(folder / "bundle"), str(model._bundle.path)), profiles=folder)
    with TestClient(create_app(both)) as client:
        asked = {"file": clip, "profile": me.to_json().encode()}
        sent = client.post("/v1/predict", files=asked).json()["predictions"][0]
        named = client.post("/v1/predict?profile=me-1", content=clip).json()["predictions"][0]
        expected = knows.predict(clip, profile=me).to_dict()
        assert {**sent, "file": None} == named == expected
        assert expected["scores"] != knows.predict(clip).to_dict()["scores"]
        segments = client.post("/v1/timeline?profile=me-1", content=clip).json()["segments"]
        assert segments == [each.to_dict() for each in knows.timeline(clip, profile=me)]

        told(client.post("/v1/predict?profile=me-1", files=asked), 400, "bad_profile")
        told(client.post("/v1/predict?profile=not", content=clip), 400, "bad_profile")
        told(client.post("/v1/predict?profile=you", content=clip), 400, "unknown_profile")
        told(client.post("/v1/predict?profile=../me-1", content=clip), 400, "bad_argument")
        told(client.post("/v1/predict", files={**asked, "profile": b"[[[["}), 400, "bad_profile")
        other = {"model": str(model._bundle.path)}
        assert "voice profile" in told(
            client.post("/v1/predict", files=asked, params=other), 400, "bad_profile"
        )
        models = client.get("/v1/models").json()["models"]
        assert [each["takes_profile"] for each in models] == [True, False]
    with serving(model) as client:
        told(client.post("/v1/predict?profile=me-1", content=clip), 400, "unknown_profile")
    assert Profile.load(folder / "me-1.json") == me


# ------------------------------------------------------------------------------------ what there is


def test_the_server_says_what_it_has_and_how_it_is(client: TestClient, model: Recognizer) -> None:
    answer = client.get("/v1/models").json()
    ModelsAnswer.model_validate(answer, strict=True)
    assert answer["default"] == answer["models"][0]["name"] == str(model._bundle.path)
    assert answer["models"][0]["labels"] == list(model.labels)
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    document = client.get("/openapi.json").json()
    assert {
        "/v1/predict",
        "/v1/timeline",
        "/v1/explain",
        "/v1/labels",
        "/v1/models",
        "/healthz",
        "/readyz",
        "/metrics",
    } == document["paths"].keys()
    for path in ("/docs", "/redoc", "/v1", "/page/../app.py", "/page/%2e%2e/app.py", "//etc/passwd"):
        told(client.get(path), 404, "not_found")
    wrong = client.get("/v1/predict")
    told(wrong, 405, "bad_method")
    assert wrong.headers["allow"] == "POST"


def test_it_is_ready_only_while_it_takes_work(model: Recognizer) -> None:
    client = serving(model)  # not started
    assert client.get("/healthz").status_code == 200
    told(client.get("/readyz"), 503, "draining")
    with client:
        assert client.get("/readyz").status_code == 200
    draining = client.get("/readyz")
    told(draining, 503, "draining")
    assert int(draining.headers["retry-after"]) >= 1


def test_an_unknown_model_stops_the_start(model: Recognizer) -> None:
    with (
        pytest.raises(emovox.errors.BundleNotFoundError),
        TestClient(create_app(ServerSettings(models=("x",)))),
    ):
        pass


def numbers(client: TestClient, **headers: str) -> dict[str, float]:
    response = client.get("/metrics", headers=headers)
    assert response.headers["content-type"].startswith("text/plain")
    lines = [line for line in response.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_metrics_count_what_happens_under_names_that_are_few(model: Recognizer) -> None:
    with serving(model) as client:
        client.post("/v1/predict", content=CLIP)
        client.post("/v1/predict", content=b"x")
        client.post("/v1/timeline", content=CLIP)
        for i in range(20):
            client.get(f"/unknown/{i}")
            client.request(f"ODD{i}", "/v1/predict")
        found = numbers(client)
        assert found['emovox_requests_total{method="POST",route="/v1/predict",status="200"}'] == 1
        assert found['emovox_requests_total{method="POST",route="/v1/predict",status="415"}'] == 1
        assert found['emovox_requests_total{method="GET",route="other",status="404"}'] == 20
        assert found['emovox_errors_total{code="not_audio"}'] == 1
        assert found["emovox_audio_seconds_total"] == pytest.approx(3.0)
        assert found["emovox_open_requests"] == found["emovox_judgements_taken"] == 0
        assert found['emovox_request_seconds_count{route="/v1/predict"}'] >= 2
        assert not any("unknown" in name or "ODD" in name for name in found)


# ------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("query", "code", "says"),
    [
        ("labels=joyous", "bad_label", "joyous"),
        ("labels=boredom", "bad_label", "boredom"),
        ("channels=all", "bad_argument", "channels"),
        ("channels=-1", "bad_argument", "channels"),
        ("vad=maybe", "bad_argument", "vad"),
        ("lables=sad", "bad_argument", "did you mean 'labels'?"),
        ("model=nobody", "unknown_model", "nobody"),
        ("window=0.01", "bad_argument", "window"),
        ("window=nan", "bad_argument", "window"),
        ("hop=9", "bad_argument", "hop"),
        ("hop=0.1", "bad_argument", "in 30 windows; expected at most 12, here a hop of 0.25 s"),
        ("window=2&hop=0.1", "bad_argument", "in 20 windows"),
        ("format=xml", "bad_argument", "sse"),
        ("windows=perhaps", "bad_argument", "windows"),
    ],
)
def test_wrong_arguments_are_named_before_the_body_is_read(
    client: TestClient, query: str, code: str, says: str
) -> None:
    path = "/v1/timeline" if query.split("=")[0] in ("window", "hop", "format", "windows") else "/v1/predict"
    response = client.post(f"{path}?{query}", content=CLIP)
    assert says in told(response, 400, code)
    reads: list[int] = []
    assert asyncio.run(_ask(client.app, CLIP, path=path, query=query, reads=reads)) == 400
    assert reads == []


FORM = {"content-type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({}, b"", 400, "empty"),
        ({}, b"not sound", 415, "not_audio"),
        ({}, b"RIFF\x00\x00\x00\x00WAVEfmt ", 415, "not_audio"),
        ({"content-type": "audio/wav"}, b"\x00" * 5000, 415, "not_audio"),
        ({}, wav(np.zeros(0)), 415, "not_audio"),
        ({}, wav(np.array([np.nan, 0.5], np.float32)), 422, "unusable_sound"),
        ({}, b"x" * 2_000_001, 413, "too_large"),
        ({"content-type": "multipart/mixed; boundary=b"}, b"x", 415, "not_audio"),
        ({"content-type": "multipart/form-data"}, b"x", 400, "bad_form"),
        ({"content-type": "multipart/form-data; boundary=" + "b" * 300}, b"--" + b"b" * 300, 400, "bad_form"),
        (FORM, b"", 400, "empty"),
        (FORM, b"--b\r\n", 400, "empty"),
        (FORM, b"--b--\r\n", 400, "empty"),
        (FORM, b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--', 400, "bad_form"),
        (FORM, b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n1\r\n--b--', 400, "bad_form"),
        (FORM, b"--b\r\nContent-Disposition: form-data\r\n\r\n1\r\n--b--", 400, "bad_form"),
        (FORM, b"--b\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n1\r\n--b--", 400, "bad_form"),
        ({"content-type": "multipart/form-data; boundary=b; charset=zlib"}, b"--b--\r\n", 400, "empty"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/timeline"])
def test_bodies_that_are_no_sound(
    client: TestClient, path: str, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    told(client.post(path, content=body, headers=headers), status, code)


def test_more_files_than_may_be(client: TestClient) -> None:
    told(client.post("/v1/predict", files=[("file", CLIP)] * 5), 413, "bad_form")
    told(client.post("/v1/predict", files=[("file", CLIP)] * 20), 413, "bad_form")
    told(client.post("/v1/timeline", files=[("file", CLIP)] * 2), 400, "bad_form")
    told(client.post("/v1/predict?channels=1", content=CLIP), 422, "unusable_sound")


@pytest.mark.parametrize(
    "charset", ["utf-16", "utf-7", "unicode_escape", "zlib", "rot13", "idna", "hex", "nope"]
)
def test_any_charset_of_a_form_gives_an_answer(client: TestClient, charset: str) -> None:
    name = b"\\ud800+2AA-\xff\xfe\xd8\x00.wav"
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="'
        + name
        + b'"\r\n\r\n'
        + CLIP
        + b"\r\n--b--"
    )
    kind = {"content-type": f"multipart/form-data; boundary=b; charset={charset}"}
    response = client.post("/v1/predict", content=body, headers=kind)
    assert response.status_code in (200, 400), response.text


@pytest.mark.parametrize("charset", ["undefined", "utf-16", "punycode", "idna", "latin-1", '"utf-16"'])
def test_the_charset_of_a_form_changes_nothing(client: TestClient, charset: str) -> None:
    body = (
        '--b "1"\r\nContent-Disposition: form-data; name="file"; filename="süß-日本.wav"\r\n\r\n'.encode()
        + CLIP
        + b'\r\n--b "1"--'
    )
    for kind in (
        f'multipart/form-data; charset={charset}; boundary="b \\"1\\""',
        f'multipart/form-data; boundary="b \\"1\\""; Charset={charset}',
    ):
        response = client.post("/v1/predict", content=body, headers={"content-type": kind})
        assert response.status_code == 200, response.text
        assert response.json()["predictions"][0]["file"] == "süß-日本.wav"


def test_a_complaint_of_halves_of_surrogates_can_be_sent(client: TestClient) -> None:
    files = {"file": CLIP, "profile": b'{"\\ud800": 1}'}
    told(client.post("/v1/predict", files=files), 400, "bad_profile")


def test_a_bomb_is_decoded_no_further_than_may_be(client: TestClient) -> None:
    bomb = io.BytesIO()
    soundfile.write(bomb, np.zeros((4 * 3600 * 8000, 1), np.int16), 8000, format="FLAC")  # four hours
    assert len(bomb.getvalue()) < 2_000_000
    start_s = time.perf_counter()
    response = client.post("/v1/predict", files={"file": ("bomb.wav", bomb.getvalue())})
    assert "longer than 30 s" in told(response, 413, "too_long")
    assert time.perf_counter() - start_s < 5


PIECES = [
    *(b"--b", b"--", b"\r\n", b"\n", b"\r\n\r\n", b":", b"\x00\xff", CLIP[:200]),
    b'Content-Disposition: form-data; name="file"; filename="a"',
    b'Content-Disposition: form-data; name="profile"',
]


@settings(max_examples=40)
@given(
    st.binary(max_size=300) | st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join),
    st.sampled_from(["multipart/form-data; boundary=b", "audio/wav", "", 'multipart/form-data; boundary=""']),
)
def test_no_body_is_a_fault(client: TestClient, body: bytes, kind: str) -> None:
    response = client.post("/v1/predict", content=body, headers={"content-type": kind})
    assert response.status_code in (200, 400, 413, 415, 422), response.text
    if response.status_code != 200:
        ErrorAnswer.model_validate(response.json())


@pytest.mark.parametrize(
    "end",
    [
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="b.wav"\r\n\r\n' + CLIP[:2000],
        b'--b\r\nContent-Disposition: form-data; name="profile"\r\n\r\n{',
        b"--b\r\nContent-Dispo",
    ],
)
def test_form_that_ends_within_a_part(client: TestClient, end: bytes) -> None:
    first = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + CLIP + b"\r\n"
    kind = {"content-type": "multipart/form-data; boundary=b"}
    assert client.post("/v1/predict", content=first + b"--b--\r\n", headers=kind).status_code == 200
    message = told(client.post("/v1/predict", content=first + end, headers=kind), 400, "bad_form")
    assert "ends within a part" in message
    gc.collect()  # a file that was left open is an error


# ------------------------------------------------------------------------------------ who may ask


def test_a_key_is_asked_for_where_it_matters(model: Recognizer) -> None:
    guarded = [("POST", "/v1/predict"), ("POST", "/v1/timeline"), ("GET", "/v1/models"), ("GET", "/metrics")]
    with serving(model, api_key=KEY) as client:
        for method, path in guarded:
            for headers in (
                {},
                {"x-api-key": KEY + "x"},
                {"authorization": KEY},
                {"authorization": f"Basic {KEY}"},
            ):
                response = client.request(method, path, headers=headers, content=CLIP)
                told(response, 401, "unauthorized")
                assert response.headers["www-authenticate"] == "Bearer"
            for headers in (
                {"x-api-key": KEY},
                {"authorization": f"Bearer {KEY}"},
                {"authorization": f"bearer {KEY}"},
            ):
                assert client.request(method, path, headers=headers, content=CLIP).status_code == 200
        told(client.get("/v1/models", headers={"x-api-key": "schlüssel".encode()}), 401, "unauthorized")
        for path in ("/healthz", "/readyz", "/", "/page/app.js"):
            assert client.get(path).status_code == 200


def test_who_asks_too_often_waits(model: Recognizer) -> None:
    with serving(model, rate=5, api_key=KEY) as client:
        for _ in range(5):
            told(client.get("/v1/models"), 401, "unauthorized")  # guessing a key costs, too
        refused = client.get("/v1/models", headers={"x-api-key": KEY})
        assert "5 requests a minute" in told(refused, 429, "too_many_requests")
        assert 1 <= int(refused.headers["retry-after"]) <= 12
        assert client.get("/healthz").status_code == 200


# ------------------------------------------------------------------------------------ under load


class _Slow(Recognizer):
    """Predicts while the gate is open."""

    gate = threading.Event()

    def results(self, *args: Any, **how: Any) -> Any:
        assert self.gate.wait(20)
        return super().results(*args, **how)


def test_what_is_too_much_is_told_to_come_again(model: Recognizer) -> None:
    slow = _Slow(model._bundle)
    slow.gate.set()
    app = create_app(ServerSettings(models=("slow",), threads=1, queue=1), lambda _: slow)
    statuses: list[int] = []
    with TestClient(app) as client:
        slow.gate.clear()
        asking = [
            threading.Thread(
                target=lambda: statuses.append(client.post("/v1/predict", content=CLIP).status_code)
            )
            for _ in range(2)
        ]
        for each in asking:
            each.start()
        engine = app.state.shared.models
        deadline_s = time.monotonic() + 20
        while engine.n_active < 2:
            assert time.monotonic() < deadline_s
            time.sleep(0.005)
        refused = client.post("/v1/predict", content=CLIP)
        told(refused, 503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/readyz").status_code == 200
        slow.gate.set()
        for each in asking:
            each.join()
        assert statuses == [200, 200]
        assert engine.n_active == 0
        assert client.post("/v1/predict", content=CLIP).status_code == 200


def test_a_server_that_stops_finishes_what_it_took(model: Recognizer) -> None:
    slow = _Slow(model._bundle)
    slow.gate.set()
    app = create_app(ServerSettings(models=("slow",), threads=1), lambda _: slow)

    async def asked() -> int:
        async with app.router.lifespan_context(app):
            slow.gate.clear()
            answer = asyncio.create_task(_ask(app, CLIP))
            while not app.state.shared.models.n_active:
                await asyncio.sleep(0.005)
            threading.Timer(0.2, slow.gate.set).start()
        return await answer

    assert asyncio.run(asked()) == 200


# ------------------------------------------------------------------------------------ clients that misbehave


async def _ask(
    app: Any,
    *body: bytes | float | None,
    headers: dict[str, str] | None = None,
    path: str = "/v1/predict",
    query: str = "",
    reads: list[int] | None = None,
    gone: Callable[[], bool] = lambda: False,
) -> int:
    """Ask as a server would hand it in; the status, 0 when none was sent.

    ``body``: chunks, seconds to wait, and ``None`` where the client goes away; it may be ``gone`` later, too.
    """
    todo = list(body)
    status = 0

    async def receive() -> dict[str, Any]:
        while todo:
            each = todo.pop(0)
            if each is None:
                todo.append(None)
                return {"type": "http.disconnect"}
            if isinstance(each, bytes):
                if reads is not None:
                    reads.append(len(each))
                return {"type": "http.request", "body": each, "more_body": bool(todo)}
            await asyncio.sleep(each)
        while not gone():
            await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    return status


def test_limits_hold_before_and_while_a_body_is_read(client: TestClient) -> None:
    chunk = bytes(100_000)

    async def asked() -> None:
        reads: list[int] = []
        for headers in ({"content-length": "1000000000"}, {"content-length": "9" * 5000}):
            assert await _ask(client.app, chunk, headers=headers, reads=reads) == 413
        assert reads == []  # refused before a byte was read
        for headers in ({}, {"content-length": "7"}, {"content-length": "-1"}, FORM):
            reads.clear()
            part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            assert await _ask(client.app, part, *[chunk] * 40, headers=headers, reads=reads) == 413
            assert sum(reads) <= 2_000_000 + len(chunk)  # and no further than to the limit

    asyncio.run(asked())


def test_slow_and_vanishing_clients_leave_nothing_behind(
    model: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        app = create_app(ServerSettings(models=(str(model._bundle.path),), upload_timeout_s=1.0, max_open=2))
        service = app.state.shared
        part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        big = bytes(3_000_000)  # lies on the disk

        async def asked() -> None:
            async with app.router.lifespan_context(app):
                assert await _ask(app, CLIP[:100], 5.0, CLIP[100:]) == 408
                for headers in ({}, FORM):
                    assert await _ask(app, part, big, None, headers=headers) == 499  # nobody hears it
                slow = [asyncio.create_task(_ask(app, big, 5.0)) for _ in range(2)]
                while service.concurrency.n_active < 2:
                    await asyncio.sleep(0.01)
                assert [path.name for path in Path(folder).iterdir()] == []  # not even now has it a name
                assert await _ask(app, CLIP) == 503  # no room
                assert await asyncio.gather(*slow) == [408, 408]
                assert await _ask(app, CLIP) == 200
            assert service.concurrency.n_active == service.models.n_active == 0

        asyncio.run(asked())
        assert list(Path(folder).iterdir()) == []


def test_who_leaves_in_the_middle_of_events_frees_his_place(client: TestClient) -> None:
    service = client.app.state.shared  # type: ignore[attr-defined]
    with client.stream("POST", "/v1/timeline?format=sse&windows=true", content=TALK) as response:
        assert next(response.iter_lines()).startswith("event:")

    async def gone() -> None:
        await _ask(client.app, TALK, 0.01, None, path="/v1/timeline", query="format=sse&windows=true")

    client.portal.call(gone)  # type: ignore[union-attr]
    assert service.concurrency.n_active == 0
    assert service.models.n_active == 0


@pytest.mark.parametrize("query", ["", "format=csv", "format=sse"])
def test_nobodys_timeline_is_not_computed_to_its_end(model: Recognizer, query: str) -> None:
    long = wav(np.resize(talk(), 35 * SAMPLE_RATE), subtype="PCM_16")  # four blocks
    with serving(model) as client:
        service = client.app.state.shared  # type: ignore[attr-defined]

        async def asked() -> int:
            heard = service.metrics.audio_s._value.get
            return await _ask(client.app, long, path="/v1/timeline", query=query, gone=lambda: heard() > 0)

        status = client.portal.call(asked)  # type: ignore[union-attr]
        assert status == (200 if "sse" in query else 499)
        found = numbers(client)
        assert found["emovox_audio_seconds_total"] == 10
        assert found["emovox_open_requests"] == found["emovox_judgements_taken"] == 0
        assert "sse" in query or found['emovox_errors_total{code="gone"}'] == 1


def test_of_nobodys_files_no_more_are_judged(model: Recognizer) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + CLIP + b"\r\n"
    with serving(model) as client:
        service = client.app.state.shared  # type: ignore[attr-defined]

        async def asked() -> int:
            heard = service.metrics.audio_s._value.get
            return await _ask(client.app, 3 * part + b"--b--", headers=FORM, gone=lambda: heard() > 0)

        assert client.portal.call(asked) == 499  # type: ignore[union-attr]
        found = numbers(client)
        assert found["emovox_audio_seconds_total"] == 1.5
        assert found["emovox_open_requests"] == 0


# ------------------------------------------------------------------------------------ what is written down


def test_no_log_says_what_was_sent(model: Recognizer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        with serving(model, api_key=KEY) as client:
            client.headers["x-api-key"] = KEY
            client.post("/v1/predict?labels=happy,sad", files={"file": ("patient-0815.wav", CLIP)})
            client.post("/v1/predict?labels=wütend", files={"file": ("patient-0815.wav", CLIP)})
            client.post("/v1/predict", content=b"my secret words")
            client.post("/v1/patient-0815", headers={"x-api-key": "wrong-key"})
    finally:
        for name in list(logging.root.manager.loggerDict):
            logging.getLogger(name).setLevel(logging.NOTSET)
    ours = [record for record in caplog.records if record.name == "emovox.server"]
    assert [record.message for record in ours] == ["ready", *["request"] * 4]
    assert [record.said["status"] for record in ours[1:]] == [200, 400, 415, 404]  # type: ignore[attr-defined]
    written = "\n".join(
        str(vars(record)) for record in caplog.records if "httpx" not in record.name
    )  # the client's
    for secret in (KEY, "patient", "0815", "secret", "wütend", "wrong-key", "testclient", "happy"):
        assert secret not in written, secret


def test_a_fault_is_a_500_that_says_nothing(
    model: Recognizer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Recognizer, source: Any, *_: Any, **__: Any) -> None:
        raise ZeroDivisionError("the recording says hello")

    with serving(model) as client:
        monkeypatch.setattr(Recognizer, "results", broken)
        response = client.post("/v1/predict", content=CLIP)
        text = told(response, 500, "internal")
        assert response.headers["x-request-id"] in text
        assert numbers(client)['emovox_errors_total{code="internal"}'] == 1
    fault = next(record for record in caplog.records if record.getMessage() == "fault")
    assert fault.said["kind"] == "ZeroDivisionError"  # type: ignore[attr-defined]
    assert any("test_server_http" in line for line in fault.said["place"])  # type: ignore[attr-defined]
    assert "hello" not in response.text + str([vars(record) for record in caplog.records])


def test_repeated_labels_are_joined(client: TestClient) -> None:
    joined = client.post("/v1/predict?labels=happy,sad", content=CLIP)
    for repeated in (
        "labels=happy&labels=sad",
        "labels=happy%2Csad",
        "vad=on&labels=happy&vad=on&labels=sad",
    ):
        answer = client.post(f"/v1/predict?{repeated}", content=CLIP)
        assert answer.status_code == 200, repeated
        assert answer.json() == joined.json()
    answer = client.post(
        "/v1/predict", params={"labels": ["happy", "sad"]}, content=CLIP
    )  # as httpx sends it
    assert answer.json() == joined.json()


@pytest.mark.parametrize(
    ("path", "query"),
    [("predict", "vad=on&vad=off"), ("predict", "channels=mix&channels=0"), ("timeline", "hop=1&hop=0.5")],
)
def test_contradicting_arguments_are_refused(client: TestClient, path: str, query: str) -> None:
    name = query.partition("=")[0]
    assert name in told(client.post(f"/v1/{path}?{query}", content=CLIP), 400, "bad_argument")


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
def test_head_requests(client: TestClient, path: str) -> None:
    answer, whole = client.head(path), client.get(path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == whole.headers["content-length"]
    assert answer.headers["content-type"] == whole.headers["content-type"]
