"""Places: the same for paths, for a store in memory and for an S3-compatible server on loopback."""

from __future__ import annotations

import builtins
import errno
import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emovox import audio
from emovox._files import replaced
from emovox.batch import places
from emovox.batch.places import stores
from emovox.errors import AudioDecodeError, MissingExtraError, PlaceError, PlaceNotFoundError
from stores import BUCKET, s3_server, store

EXAMPLE = Path(__file__).parents[1] / "examples" / "happy.flac"


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A server with one bucket."""
    with s3_server() as server:
        yield server


@pytest.fixture(params=["local", "file", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder that is not there yet, of each kind."""
    if request.param == "memory":
        pytest.importorskip("fsspec")
        return f"memory://{uuid4().hex}/calls"
    if request.param == "s3":
        request.getfixturevalue("s3")
        return f"{BUCKET}/{uuid4().hex}/calls"
    return str(tmp_path / "calls") if request.param == "local" else f"file://{tmp_path}/calls"


def test_what_is_written_is_read(place: str) -> None:
    file = places.joined(place, "2026", "1.wav")
    assert not places.exists(file)
    with places.written(file) as stream:
        stream.write(b"half")
        stream.flush()
        assert not places.exists(file), "it appears when it is complete"
        stream.write(b" and whole")
    assert places.exists(file)
    assert places.exists(place)
    assert places.is_folder(place)
    assert not places.is_folder(file)
    assert places.read(file) == b"half and whole"
    places.write(file, b"", durable=True)
    assert places.read(file) == b""
    places.remove(file)
    places.remove(file)
    assert not places.exists(file)


def test_what_fails_half_way_leaves_what_was_there(place: str) -> None:
    file = places.joined(place, "1.wav")
    places.write(file, b"before")

    def stopped(error: BaseException) -> None:
        with places.written(file) as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(KeyboardInterrupt):
        stopped(KeyboardInterrupt())
    with pytest.raises(ValueError, match="mine"):
        stopped(ValueError("mine"))
    assert places.read(file) == b"before"
    assert [name.rpartition("/")[2] for name in places.walk(place)] == ["1.wav"]


def test_a_piece_is_read_where_one_stands(place: str) -> None:
    file = places.joined(place, "1.bin")
    places.write(file, bytes(range(256)) * 1000)
    with places.opened(file) as stream:
        assert stream.seekable()
        stream.seek(-3, 2)
        assert stream.read() == b"\xfd\xfe\xff"
        assert stream.seek(1000) == stream.tell() == 1000
        assert stream.read(2) == b"\xe8\xe9"


def test_listing_and_patterns(place: str) -> None:
    names = ("b.wav", "a.WAV", "deep/c.wav", "deep/er/d.flac", "notes.txt")
    hidden = ("deep/._c.wav", ".trash/sad.wav", "deep/.old/er/sad.wav")
    for name in (*names, *hidden):
        places.write(places.joined(place, *name.split("/")), b"x")

    def below(found: Iterator[str]) -> list[str]:
        base = str(places.local_path(place)) if places.is_local(place) else place
        return [one.removeprefix(f"{base}/") for one in found]

    assert sorted(below(places.walk(place))) == sorted(names)
    assert sorted(below(places.walk(place, suffixes=(".wav",)))) == ["a.WAV", "b.wav", "deep/c.wav"]
    assert sorted(below(places.walk(place, deep=False, suffixes=(".wav",)))) == ["a.WAV", "b.wav"]
    assert below(places.glob(places.joined(place, "*.wav"))) == ["b.wav"]
    assert below(places.glob(places.joined(place, "*", "[a-c].wav"))) == ["deep/c.wav"]
    assert sorted(below(places.glob(places.joined(place, "**", "*.wav")))) == ["b.wav", "deep/c.wav"]
    assert below(places.glob(places.joined(place, "none", "*.wav"))) == []
    assert all(places.read(one) == b"x" for one in places.walk(place))


def test_what_is_not_there(place: str) -> None:
    for wrong in (places.joined(place, "1.wav"), place):
        with pytest.raises(PlaceNotFoundError, match="no such file or folder"):
            places.read(wrong)
        with pytest.raises(PlaceNotFoundError, match="no such f"):
            list(places.walk(wrong))
        assert not places.exists(wrong)
        assert not places.is_folder(wrong)
    places.write(places.joined(place, "1.wav"), b"x")
    with pytest.raises(PlaceError, match="a folder, not a file"):
        places.read(place)


def test_a_recording_has_a_bound(place: str) -> None:
    file = places.joined(place, "1.wav")
    places.write(file, b"x" * 10)
    assert places.read(file, max_bytes=10) == b"x" * 10
    with pytest.raises(PlaceError, match="more than 9 bytes"):
        places.read(file, max_bytes=9)


def test_the_audio_door_takes_it(place: str) -> None:
    file = places.joined(place, "happy.flac")
    places.write(file, EXAMPLE.read_bytes())
    there = audio.read(places.source(file))  # type: ignore[arg-type]  # a stream, or a path
    assert there.tobytes() == audio.read(EXAMPLE).tobytes()
    places.write(file, b"no sound at all")
    with pytest.raises(AudioDecodeError, match=r"happy\.flac: not sound"):
        audio.read(places.source(file))  # type: ignore[arg-type]


characters = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="/")
odd = st.text(characters, min_size=1, max_size=30).filter(
    lambda name: name.strip(". ") == name and len(name.encode()) < 200
)


@given(names=st.lists(odd, min_size=1, max_size=3))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_odd_names_come_back_as_they_were(place: str, names: list[str]) -> None:
    if place.startswith("file://"):
        return  # there, a name is percent-encoded
    folder = places.joined(place, uuid4().hex)
    file = places.joined(folder, *names)
    places.write(file, b"x")
    assert places.exists(file)
    assert places.read(file) == b"x"
    assert list(places.walk(folder)) == [file]


# --- S3 -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("s3")
def test_three_thousand_objects_come_in_pages() -> None:
    many = {f"{uuid4().hex}.wav": b"x" for _ in range(3000)}
    folder = f"{BUCKET}/{uuid4().hex}"
    for name, data in many.items():  # straight to the server: what is listed is tested, not what is written
        put(f"{folder}/{name}", data)
    asked: list[str] = []
    client = store(BUCKET)
    original = type(client).call_s3

    def noted(self: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(method)
        return original(self, method, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(client), "call_s3", noted)
        found = places.walk(folder)
        first = next(found)
        assert asked == ["list_objects_v2"], "the first is known after the first page"
        rest = list(found)
    assert asked == ["list_objects_v2"] * 3
    assert [first, *rest] == sorted(f"{folder}/{name}" for name in many)


def put(place: str, data: bytes) -> None:
    """Into the server's memory, without HTTP."""
    from moto.s3.models import s3_backends

    bucket, _, key = place.removeprefix("s3://").partition("/")
    next(iter(s3_backends.values()))["aws"].put_object(bucket, key, data)


@pytest.mark.usefixtures("s3")
def test_no_such_bucket() -> None:
    for asked in (
        lambda: places.read("s3://nobodys/1.wav"),
        lambda: list(places.walk("s3://nobodys")),
        lambda: places.write("s3://nobodys/1.wav", b"x"),
    ):
        with pytest.raises(PlaceNotFoundError, match="s3://nobodys"):
            asked()
    assert not places.exists("s3://nobodys/1.wav")


@pytest.mark.usefixtures("s3")
def test_keys_that_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    places.write(f"{BUCKET}/1.wav", b"x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    store(BUCKET).clear_instance_cache()
    with pytest.raises(PlaceError, match=r"s3://voices/1\.wav: cannot be read: .*connect") as caught:
        places.read(f"{BUCKET}/1.wav")
    assert "a-secret-of-the-tests" not in str(caught.value)
    store(BUCKET).clear_instance_cache()


def test_a_server_that_goes_in_the_middle(s3: Any) -> None:
    """What was read before counts, what comes after fails by itself, and nothing half-written is seen."""
    places.write(f"{BUCKET}/a.wav", b"a")
    places.write(f"{BUCKET}/b.wav", b"b")
    assert places.read(f"{BUCKET}/a.wav") == b"a"
    s3._server.shutdown()
    s3._server.server_close()
    try:
        with pytest.raises(PlaceError, match=r"s3://voices/b\.wav: cannot be read"):
            places.read(f"{BUCKET}/b.wav")
        with pytest.raises(PlaceError, match="cannot be looked up"):
            places.exists(f"{BUCKET}/b.wav")
        with pytest.raises(PlaceError, match="cannot be written"):
            places.write(f"{BUCKET}/c.wav", b"c")
    finally:
        _, port = s3.get_host_and_port()
        s3._port = port
        s3._server_ready_event = threading.Event()
        s3.start()
    assert places.read(f"{BUCKET}/b.wav") == b"b"
    assert not places.exists(f"{BUCKET}/c.wav")


# --- names, and what is not installed -------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "is_url"),
    [
        ("s3://bucket/a.wav", True),
        ("file:///a.wav", True),
        ("C:/a.wav", False),
        ("c://a.wav", False),
        ("a.wav", False),
        ("/a/b.wav", False),
        ("a s3://b", False),
        ("", False),
    ],
)
def test_what_is_a_url(place: str, is_url: bool) -> None:
    assert places.is_url(place) is is_url


def test_passwords_are_refused_and_never_told() -> None:
    with pytest.raises(PlaceError, match=r"me:\*\*\*@host") as caught:
        places.read("sftp://me:hunter2@host/a.wav")
    assert "hunter2" not in str(caught.value)
    signed = "https://host/a.wav?id=3&X-Amz-Credential=AK%2F1&X-Amz-Signature=77ab&sig=x#t"
    assert places.veiled(f"failed: {signed!r}!") == (
        "failed: 'https://host/a.wav?id=3&X-Amz-Credential=***&X-Amz-Signature=***&sig=***#t'!"
    )
    plain = ("a:b@c.wav", "s3://bucket/a:b@c.wav?x=1", "/a/key=1", "https://host/a.wav?id=3")
    assert [places.veiled(one) for one in plain] == list(plain)


@pytest.mark.parametrize(
    "name",
    [
        "jwt",
        "auth",
        "Authorization",
        "passwd",
        "pass",
        "hmac",
        "bearer",
        "session",
        "code",
        "hdnea",
        "AccessKey",
        "X%2DAmz%2DSignature",
        "access_token",
        "api-key",
        "sig",
    ],
)
def test_parameters_that_let_others_in_are_not_told(name: str) -> None:
    told = places.veiled(f"https://host/a.wav?{name}=SECRET&id=3;{name}=SECRET#t")
    assert told == f"https://host/a.wav?{name}=***&id=3;{name}=***#t"
    assert places.veiled(told) == told


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_GET(self) -> None:
        self.send_response(int(self.path[1:4]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


def test_what_the_web_refuses_is_not_absent() -> None:
    pytest.importorskip("aiohttp")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        for status, words in ((401, "private, or has a signature"), (403, "expired"), (503, "answers 503")):
            for ask in (places.read, places.exists):
                with pytest.raises(PlaceError, match=words) as caught:
                    ask(f"{base}/{status}.wav")
                assert not isinstance(caught.value, PlaceNotFoundError)
        with pytest.raises(PlaceNotFoundError):
            places.read(f"{base}/404.wav")
        assert not places.exists(f"{base}/404.wav")
        server.shutdown()
    with pytest.raises(PlaceError, match="cannot be reached"):
        places.read(f"{base}/200.wav")


secret = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=20).map(
    "s3cr{}t".format
)


@given(secret, st.sampled_from(["{}@", "{}/b@", "b@{}@", "b/{}@", "{}?b@", "{}#@", "8080@{}@"]))
def test_no_password_is_told(secret: str, form: str) -> None:
    for start in ("sftp://me:", "https://me@home:", "https://:"):
        place = f"{start}{form.format(secret)}host/a.wav"
        assert places.veiled(f"failed: {place}: so") == f"failed: {start}***@host/a.wav: so"
        assert places.veiled(places.veiled(place)) == places.veiled(place)
        with pytest.raises(PlaceError, match="with a password"):
            places.read(place)


@pytest.mark.parametrize(
    "place",
    [
        "https://host:8080/a@b.wav",
        "https://host/me:a@b.wav",
        "http://[::1]:8080/a@b.wav",
        "sftp://me@host/a.wav",
        "abfs://voices@account.net/a:b@c.wav",
        "hdfs://me@host:8020/a@b.wav",
        "file:///calls/me:a@b.wav",
        "s3://bucket?a:b@c.wav",
    ],
)
def test_what_is_no_password_is_told(place: str) -> None:
    assert places.veiled(place) == place


def test_a_token_of_the_web_is_refused_and_never_told() -> None:
    with pytest.raises(PlaceError, match=r"https://\*\*\*@host/a\.wav") as caught:
        places.read("https://hunter2@host/a.wav")
    assert "hunter2" not in str(caught.value)


def test_paths_need_no_fsspec_and_urls_say_what_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name.split(".")[0] in ("fsspec", "s3fs"):
            monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] in ("fsspec", "s3fs"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    file = str(tmp_path / "a" / "1.wav")
    places.write(file, b"x")
    assert list(places.walk(str(tmp_path))) == list(places.glob(str(tmp_path / "*" / "*.wav"))) == [file]
    assert places.read(file) == b"x"
    for url, extra in (("s3://b/1", "s3"), ("gs://b/1", "gcs"), ("memory://b/1", "distributed")):
        for asked in (places.read, places.exists, lambda url: list(places.walk(url))):
            with pytest.raises(MissingExtraError, match=rf"pip install 'emovox\[{extra}\]'"):
                asked(url)


def test_a_store_that_is_not_installed_and_one_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")

    def missing(scheme: str) -> None:
        raise ImportError(f"install {scheme}fs")

    with pytest.raises(PlaceError, match="no kind of place known as nosuch://"):
        places.read("nosuch://a/b")
    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(MissingExtraError, match=r"emovox\[s3\]"):
        places.read("s3://a/b")
    with pytest.raises(PlaceError, match="not installed: install sftpfs"):
        places.read("sftp://a/b")


def test_a_full_disk_is_known_as_such(tmp_path: Path) -> None:
    def filled() -> None:
        with places.written(str(tmp_path / "1.wav")) as stream:
            stream.write(b"x")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(PlaceError, match="No space left") as caught:
        filled()
    assert caught.value.is_full
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(PlaceError) as caught:
        places.write(str(tmp_path / "a\0b"), b"")
    assert not caught.value.is_full


def test_odd_local_names(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match="another machine"):
        places.read("file://elsewhere/a.wav")
    (tmp_path / "a b%20").write_bytes(b"x")
    assert places.read(f"file://{tmp_path}/a%20b%2520") == b"x"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "1.wav").write_bytes(b"x")
    (tmp_path / "circle").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "dead.wav").symlink_to(tmp_path / "none.wav")
    found = [one.removeprefix(f"{tmp_path}/") for one in places.walk(str(tmp_path))]
    assert found == ["a b%20", "dead.wav", "folder/1.wav"], "no folder twice, and a dead link is told"


def test_a_store_that_shows_what_is_half_written_gets_a_file_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setattr(stores, "_SEEN_WHEN_COMPLETE", set())
    folder = f"memory://{uuid4().hex}/a"
    places.write(f"{folder}/1.wav", b"x")
    assert list(places.walk(folder)) == [f"{folder}/1.wav"]
    assert places.read(f"{folder}/1.wav") == b"x"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_durable_file_is_synced_and_so_is_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def noted(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)

    monkeypatch.setattr("os.fsync", noted)
    with replaced(tmp_path / "a.txt", durable=True) as half:
        half.write_text("x")
    assert synced == [half.name, tmp_path.name]
    with replaced(tmp_path / "b.txt") as half:
        half.write_text("x")
    assert len(synced) == 2
