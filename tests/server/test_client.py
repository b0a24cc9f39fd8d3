"""A client gets from a server what the recogniser beside it says: results, errors, and patience."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from traceback import format_exception
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

import emovox
from conftest import tiny_features_onnx
from emovox import errors
from emovox.audio import SAMPLE_RATE
from emovox.bundles import write_bundle
from emovox.client import Client, live
from emovox.inference.recognizer import Recognizer
from emovox.results import Prediction, Segment
from emovox.server.app import create_app
from emovox.server.settings import ServerSettings
from emovox.transcripts.reading import read_transcript
from serving import serving
from speaker_model import SPEECH, speaker_spec
from speech import talk, voice, wav

KEY = "long and random"
STEREO = wav(np.stack([talk(), talk()[::-1]], axis=1), subtype="PCM_16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("client")
    write_bundle(folder / "knows", tiny_features_onnx(180), speaker_spec())
    (folder / "clip.wav").write_bytes(wav(voice(1.2), subtype="PCM_16"))
    (folder / "call.wav").write_bytes(STEREO)
    (folder / "not.wav").write_bytes(b"text")
    return folder


@pytest.fixture(scope="module")
def model(make_bundle: Callable[..., Path]) -> Recognizer:
    return emovox.load(make_bundle(seed=3, temperature=1.5))


@pytest.fixture(scope="module")
def server(folder: Path, model: Recognizer) -> Iterator[Client]:
    assert model._bundle.path is not None
    names = (str(model._bundle.path), str(folder / "knows"))
    app = create_app(ServerSettings(models=names, api_key=KEY, max_seconds=25.0, max_upload_mb=2.0))
    with serving(app) as (port, _), Client(f"http://127.0.0.1:{port}/", api_key=KEY) as client:
        yield client


def rounded(found: Prediction | Segment) -> dict[str, Any]:
    """As it looks on the wire."""
    return found.to_dict()


def test_predictions_are_the_recognisers(server: Client, model: Recognizer, folder: Path) -> None:
    for source in (folder / "clip.wav", str(folder / "call.wav"), STEREO):
        found, expected = server.predict(source), model.predict(source)
        assert rounded(found) == rounded(expected)
        assert found.top[0][0] == expected.top[0][0]
        assert (found.error, found.file) == (None, None if source is STEREO else str(source))
    how: dict[str, Any] = {"labels": ("happy", "sad"), "vad": "off"}
    few = server.predict(STEREO, channels=1, **how)
    assert rounded(few) == rounded(model.predict(STEREO, channels=1, **how))
    apart = [rounded(each) for each in server.predict_channels(STEREO)]
    assert apart == [rounded(each) for each in model.predict_channels(STEREO)]


def test_many_keep_their_order_and_a_bad_one_costs_no_other(
    server: Client, model: Recognizer, folder: Path
) -> None:
    sources = [folder / name for name in ("clip.wav", "not.wav", "missing.wav", "call.wav")] * 4
    found = list(server.predict_many(sources, workers=3))
    assert [each.file for each in found] == [str(source) for source in sources]
    assert [each.error is None for each in found] == [True, False, False, True] * 4
    assert rounded(found[3]) == rounded(model.predict(folder / "call.wav"))
    assert "not sound" in str(found[1].error)
    assert "no such file" in str(found[2].error)


def test_segments_are_the_recognisers_and_come_one_by_one(server: Client, model: Recognizer) -> None:
    how: dict[str, Any] = {"window_s": 2.0, "hop_s": 0.5, "channels": "0"}
    expected = [rounded(each) for each in model.timeline(STEREO, **how)]
    assert [rounded(each) for each in server.timeline(STEREO, **how)] == expected
    assert len(expected) > 2
    stopped = server.timeline(STEREO, **how)
    assert rounded(next(stopped)) == expected[0]
    stopped.close()  # type: ignore[attr-defined]
    assert server.health()


def test_a_profile_goes_along(server: Client, folder: Path) -> None:
    knows = emovox.load(folder / "knows")
    me = knows.enroll(SPEECH[:2], sample_rate=SAMPLE_RATE)
    clip, name = wav(SPEECH[2]), str(folder / "knows")
    found = server.predict(clip, profile=me, model=name)
    assert rounded(found) == rounded(knows.predict(clip, profile=me))
    assert found.scores != server.predict(clip, model=name).scores
    segments = [rounded(each) for each in server.timeline(clip, profile=me, model=name)]
    assert segments == [rounded(each) for each in knows.timeline(clip, profile=me)]
    with pytest.raises(errors.ProfileError, match="cannot use a voice profile"):
        server.predict(clip, profile=me)


def test_adaptation_on_the_server(server: Client, folder: Path) -> None:
    name = str(folder / "knows")
    expected = [rounded(each) for each in emovox.load(name).timeline(STEREO, hop_s=0.5, adapt=True)]
    assert any("adaptation" in each for each in expected)
    found = server.timeline(STEREO, hop_s=0.5, adapt=True, model=name)
    assert [rounded(each) for each in found] == expected
    x = (np.asarray(SPEECH[0]) * 32767).astype("<i2")
    stream = emovox.load(name).stream(sample_rate=SAMPLE_RATE, hop_s=0.5, adapt=True)
    local = [each.to_dict() for each in stream.push(x) + stream.flush()]
    with server.stream(sample_rate=SAMPLE_RATE, hop_s=0.5, adapt=True, model=name) as live_stream:
        found_live = live_stream.push(x) + live_stream.flush()
    assert [each.to_dict() for each in found_live] == local
    assert any("adaptation" in each for each in local)


@pytest.mark.parametrize(
    ("kind", "source", "how"),
    [
        (errors.AudioDecodeError, b"text", {}),
        (errors.AudioTooLongError, wav(np.concatenate([talk(), talk()]), subtype="PCM_16"), {}),
        (errors.AudioValueError, STEREO, {"channels": 7}),
        (errors.AudioValueError, STEREO, {"channels": "each"}),
        (errors.AudioNotFoundError, "missing.wav", {}),
        (errors.LabelError, STEREO, {"labels": "joyous"}),
        (errors.ConfigError, STEREO, {"vad": "maybe"}),
        (errors.ServerError, STEREO, {"model": "nobody"}),
        (errors.ServerError, bytes(3_000_000), {}),
    ],
)
def test_errors_are_the_librarys(
    server: Client, kind: type[Exception], source: Any, how: dict[str, Any]
) -> None:
    with pytest.raises(kind):
        server.predict(source, **how)
    if how.get("channels") != "each":
        with pytest.raises(kind):
            list(server.timeline(source, **how))


def test_what_the_server_says_of_itself(server: Client, model: Recognizer) -> None:
    assert server.models()[0]["labels"] == list(model.labels)
    assert server.health()
    with Client(server.url) as stranger, pytest.raises(errors.ServerError, match="API key") as caught:
        stranger.models()
    assert caught.value.code == "unauthorized"
    assert KEY not in repr(server)


@pytest.mark.parametrize(
    "key", ["", " \n", "s3cr3t\nkey", "s3cr3t\x7f", "s3cr3t-k\xe9y", "s3cr3t\u20ac", b"s3cr3t"]
)
def test_what_is_no_key_is_not_shown(key: Any) -> None:
    with pytest.raises(errors.ConfigError, match="API key") as caught:
        Client("http://127.0.0.1:1", api_key=key)
    assert "s3cr3t" not in "".join(format_exception(caught.value))
    with (
        pytest.raises(errors.ConfigError, match="API key") as caught,
        live("http://127.0.0.1:1", api_key=key),
    ):
        pass
    assert "s3cr3t" not in "".join(format_exception(caught.value))


def test_a_key_is_in_no_error(server: Client) -> None:
    for url in (server.url, "http://127.0.0.1:1"):
        with Client(url, api_key="s3cr3t") as stranger:
            with pytest.raises(errors.ServerError) as caught:
                stranger.predict(STEREO)
            with pytest.raises(errors.ServerError) as caught_live, stranger.stream(sample_rate=SAMPLE_RATE):
                pass
        for error in (caught.value, caught_live.value):
            assert "s3cr3t" not in "".join(format_exception(error))


def test_a_key_may_end_its_file(server: Client) -> None:
    with Client(server.url, api_key=f" {KEY}\n") as client:
        assert client.models() == server.models()
        with client.stream(sample_rate=SAMPLE_RATE) as voice:
            assert voice.flush() == []


def test_no_server_is_an_error_with_a_sentence() -> None:
    with Client("http://127.0.0.1:1", timeout_s=2) as nobody:
        assert not nobody.health()
        with pytest.raises(errors.ServerError, match="emovox serve") as caught:
            nobody.predict(STEREO)
        assert caught.value.code == "unreachable"
        with pytest.raises(errors.ServerError):
            list(nobody.predict_many([STEREO, STEREO]))


def test_a_busy_server_is_asked_again_when_it_says(
    model: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("emovox.client.http.time", SimpleNamespace(sleep=waited.append))
    assert model._bundle.path is not None
    app = create_app(ServerSettings(models=(str(model._bundle.path),), rate=2))
    with serving(app) as (port, _), Client(f"http://127.0.0.1:{port}", retries=2) as client:
        client.models()
        client.models()
        with pytest.raises(errors.ServerError, match="requests a minute") as caught:
            client.models()
    assert caught.value.code == "too_many_requests"
    assert len(waited) == 2
    assert all(1 <= seconds <= 30 for seconds in waited)


def test_segments_are_those_of_the_recogniser(server: Client, model: Recognizer, folder: Path) -> None:
    text = (
        "SPEAKER other 1 1 2 <NA> <NA> bo <NA> <NA>\n"
        "SPEAKER call 1 1.5 2.5 <NA> <NA> anna <NA> <NA>\nSPEAKER call 1 90 2 <NA> <NA> bo <NA> <NA>\n"
    )
    (folder / "call.rttm").write_text(text)
    found = server.predict_segments(folder / "call.wav", folder / "call.rttm", channels=1)
    segments = read_transcript(text.encode(), recording="call").segments
    expected = list(model.predict_segments(folder / "call.wav", segments, channels=1))
    assert [one.to_dict() for one in found] == [one.to_dict() for one in expected]
    assert [one.segment.speaker for one in found] == ["anna", "bo"]
    assert found[0].prediction.duration_s == 2.5
    assert found[1].prediction.error is not None
    with pytest.raises(errors.TranscriptError, match="expected SRT"):
        server.predict_segments(folder / "call.wav", b"no label file")
    with pytest.raises(errors.TranscriptError, match=r"none\.srt"):
        server.predict_segments(folder / "call.wav", folder / "none.srt")
    with pytest.raises(errors.ProfileError):
        server.predict_segments(folder / "call.wav", text.encode(), adapt=True)
