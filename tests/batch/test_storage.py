"""Storage: the same for paths, a store in memory and an S3-compatible server on loopback."""

from __future__ import annotations

import builtins
import errno
import http.server
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emovox import audio
from emovox._files import atomic_path
from emovox.batch import storage
from emovox.errors import AudioDecodeError, MissingExtraError, PlaceError, PlaceNotFoundError
from stores import BUCKET, s3_server, store

EXAMPLE = Path(__file__).parents[2] / "tests" / "synthetic" / "happy.flac"


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A server with one bucket."""
    with s3_server() as server:
        yield server


@pytest.fixture(params=["local", "file", "memory", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder that is not there yet, of each kind."""
    if request.param == "memory":
        pytest.importorskip("fsspec")
        return f"memory://{uuid4().hex}/calls"
    if request.param == "s3":
        request.getfixturevalue("s3")
        return f"{BUCKET}/{uuid4().hex}/calls"
    return str(tmp_path / "calls") if request.param == "local" else f"file://{tmp_path}/calls"


def test_write_then_read(location: str) -> None:
    file = storage.join(location, "2026", "1.wav")
    assert not storage.exists(file)
    with storage.open_write(file) as stream:
        stream.write(b"half")
        stream.flush()
        assert not storage.exists(file), "it appears when it is complete"
        stream.write(b" and whole")
    assert storage.exists(file)
    assert storage.exists(location)
    assert storage.is_folder(location)
    assert not storage.is_folder(file)
    assert storage.read_bytes(file) == b"half and whole"
    storage.write_bytes(file, b"", durable=True)
    assert storage.read_bytes(file) == b""
    storage.remove(file)
    storage.remove(file)
    assert not storage.exists(file)


def test_failed_write_keeps_old_file(location: str) -> None:
    file = storage.join(location, "1.wav")
    storage.write_bytes(file, b"before")

    def stopped(error: BaseException) -> None:
        with storage.open_write(file) as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(KeyboardInterrupt):
        stopped(KeyboardInterrupt())
    with pytest.raises(ValueError, match="mine"):
        stopped(ValueError("mine"))
    assert storage.read_bytes(file) == b"before"
    assert [name.rpartition("/")[2] for name in storage.list_files(location)] == ["1.wav"]


def test_seek(location: str) -> None:
    file = storage.join(location, "1.bin")
    storage.write_bytes(file, bytes(range(256)) * 1000)
    with storage.open_read(file) as stream:
        assert stream.seekable()
        stream.seek(-3, 2)
        assert stream.read() == b"\xfd\xfe\xff"
        assert stream.seek(1000) == stream.tell() == 1000
        assert stream.read(2) == b"\xe8\xe9"


def test_listing_and_patterns(location: str) -> None:
    names = ("b.wav", "a.WAV", "deep/c.wav", "deep/er/d.flac", "notes.txt")
    hidden = ("deep/._c.wav", ".trash/sad.wav", "deep/.old/er/sad.wav")
    for name in (*names, *hidden):
        storage.write_bytes(storage.join(location, *name.split("/")), b"x")

    def below(found: Iterator[str]) -> list[str]:
        base = str(storage.local_path(location)) if storage.is_local(location) else location
        return [one.removeprefix(f"{base}/") for one in found]

    assert sorted(below(storage.list_files(location))) == sorted(names)
    assert sorted(below(storage.list_files(location, suffixes=(".wav",)))) == ["a.WAV", "b.wav", "deep/c.wav"]
    assert sorted(below(storage.list_files(location, deep=False, suffixes=(".wav",)))) == ["a.WAV", "b.wav"]
    left_out: Counter[str] = Counter()
    list(storage.list_files(location, deep=False, suffixes=(".wav",), left_out=left_out))
    assert left_out == {".txt": 1, "/": 1}
    left_out.clear()
    list(storage.list_files(location, suffixes=(".wav",), left_out=left_out))
    assert left_out == {".txt": 1, ".flac": 1}
    assert below(storage.find_files(storage.join(location, "*.wav"))) == ["b.wav"]
    assert below(storage.find_files(storage.join(location, "*", "[a-c].wav"))) == ["deep/c.wav"]
    assert sorted(below(storage.find_files(storage.join(location, "**", "*.wav")))) == ["b.wav", "deep/c.wav"]
    assert below(storage.find_files(storage.join(location, "none", "*.wav"))) == []
    assert all(storage.read_bytes(one) == b"x" for one in storage.list_files(location))


def test_missing_files(location: str) -> None:
    for wrong in (storage.join(location, "1.wav"), location):
        with pytest.raises(PlaceNotFoundError, match="no such file or folder"):
            storage.read_bytes(wrong)
        with pytest.raises(PlaceNotFoundError, match="no such f"):
            list(storage.list_files(wrong))
        assert not storage.exists(wrong)
        assert not storage.is_folder(wrong)
    storage.write_bytes(storage.join(location, "1.wav"), b"x")
    with pytest.raises(PlaceError, match="a folder, not a file"):
        storage.read_bytes(location)


def test_max_bytes(location: str) -> None:
    file = storage.join(location, "1.wav")
    storage.write_bytes(file, b"x" * 10)
    assert storage.read_bytes(file, max_bytes=10) == b"x" * 10
    with pytest.raises(PlaceError, match="more than 9 bytes"):
        storage.read_bytes(file, max_bytes=9)


def test_audio_source(location: str) -> None:
    file = storage.join(location, "happy.flac")
    storage.write_bytes(file, EXAMPLE.read_bytes())
    there = audio.read(storage.audio_source(file))  # type: ignore[arg-type]  # a stream, or a path
    assert there.tobytes() == audio.read(EXAMPLE).tobytes()
    storage.write_bytes(file, b"no sound at all")
    with pytest.raises(AudioDecodeError, match=r"happy\.flac: not sound"):
        audio.read(storage.audio_source(file))  # type: ignore[arg-type]


characters = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="/")
odd = st.text(characters, min_size=1, max_size=30).filter(
    lambda name: name.strip(". ") == name and len(name.encode()) < 200
)


@given(names=st.lists(odd, min_size=1, max_size=3))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_odd_names(location: str, names: list[str]) -> None:
    if location.startswith("file://"):
        return  # there, a name is percent-encoded
    folder = storage.join(location, uuid4().hex)
    file = storage.join(folder, *names)
    storage.write_bytes(file, b"x")
    assert storage.exists(file)
    assert storage.read_bytes(file) == b"x"
    assert list(storage.list_files(folder)) == [file]


# --- S3 -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("s3")
def test_s3_listing_in_pages() -> None:
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
        found = storage.list_files(folder)
        first = next(found)
        assert asked == ["list_objects_v2"], "the first is known after the first page"
        rest = list(found)
    assert asked == ["list_objects_v2"] * 3
    assert [first, *rest] == sorted(f"{folder}/{name}" for name in many)


def put(location: str, data: bytes) -> None:
    """Into the server's memory, without HTTP."""
    from moto.s3.models import s3_backends

    bucket, _, key = location.removeprefix("s3://").partition("/")
    next(iter(s3_backends.values()))["aws"].put_object(bucket, key, data)


@pytest.mark.usefixtures("s3")
def test_missing_bucket() -> None:
    for asked in (
        lambda: storage.read_bytes("s3://nobodys/1.wav"),
        lambda: list(storage.list_files("s3://nobodys")),
        lambda: storage.write_bytes("s3://nobodys/1.wav", b"x"),
    ):
        with pytest.raises(PlaceNotFoundError, match="s3://nobodys"):
            asked()
    assert not storage.exists("s3://nobodys/1.wav")


@pytest.mark.usefixtures("s3")
def test_unreachable_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_bytes(f"{BUCKET}/1.wav", b"x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    store(BUCKET).clear_instance_cache()
    with pytest.raises(PlaceError, match=r"s3://voices/1\.wav: cannot be read: .*connect") as caught:
        storage.read_bytes(f"{BUCKET}/1.wav")
    assert "a-secret-of-the-tests" not in str(caught.value)
    store(BUCKET).clear_instance_cache()


def test_server_shutdown(s3: Any) -> None:
    """What was read before counts, what comes after fails by itself, and nothing half-written is seen."""
    storage.write_bytes(f"{BUCKET}/a.wav", b"a")
    storage.write_bytes(f"{BUCKET}/b.wav", b"b")
    assert storage.read_bytes(f"{BUCKET}/a.wav") == b"a"
    s3._server.shutdown()
    s3._server.server_close()
    try:
        with pytest.raises(PlaceError, match=r"s3://voices/b\.wav: cannot be read"):
            storage.read_bytes(f"{BUCKET}/b.wav")
        with pytest.raises(PlaceError, match="cannot be looked up"):
            storage.exists(f"{BUCKET}/b.wav")
        with pytest.raises(PlaceError, match="cannot be written"):
            storage.write_bytes(f"{BUCKET}/c.wav", b"c")
    finally:
        _, port = s3.get_host_and_port()
        s3._port = port
        s3._server_ready_event = threading.Event()
        s3.start()
    assert storage.read_bytes(f"{BUCKET}/b.wav") == b"b"
    assert not storage.exists(f"{BUCKET}/c.wav")


# --- names, and what is not installed -------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "is_url"),
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
def test_is_url(location: str, is_url: bool) -> None:
    assert storage.is_url(location) is is_url


def test_passwords_are_refused() -> None:
    with pytest.raises(PlaceError, match=r"me:\*\*\*@host") as caught:
        storage.read_bytes("sftp://me:hunter2@host/a.wav")
    assert "hunter2" not in str(caught.value)
    signed = "https://host/a.wav?id=3&X-Amz-Credential=AK%2F1&X-Amz-Signature=77ab&sig=x#t"
    assert storage.redact(f"failed: {signed!r}!") == (
        "failed: 'https://host/a.wav?id=3&X-Amz-Credential=***&X-Amz-Signature=***&sig=***#t'!"
    )
    plain = ("a:b@c.wav", "s3://bucket/a:b@c.wav?x=1", "/a/key=1", "https://host/a.wav?id=3")
    assert [storage.redact(one) for one in plain] == list(plain)


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
def test_redact_secret_parameters(name: str) -> None:
    told = storage.redact(f"https://host/a.wav?{name}=SECRET&id=3;{name}=SECRET#t")
    assert told == f"https://host/a.wav?{name}=***&id=3;{name}=***#t"
    assert storage.redact(told) == told


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_GET(self) -> None:
        self.send_response(int(self.path[1:4]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


def test_web_errors() -> None:
    pytest.importorskip("aiohttp")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        for status, words in ((401, "private, or has a signature"), (403, "expired"), (503, "answers 503")):
            for ask in (storage.read_bytes, storage.exists):
                with pytest.raises(PlaceError, match=words) as caught:
                    ask(f"{base}/{status}.wav")
                assert not isinstance(caught.value, PlaceNotFoundError)
        with pytest.raises(PlaceNotFoundError):
            storage.read_bytes(f"{base}/404.wav")
        assert not storage.exists(f"{base}/404.wav")
        server.shutdown()
    with pytest.raises(PlaceError, match="cannot be reached"):
        storage.read_bytes(f"{base}/200.wav")


secret = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=20).map(
    "s3cr{}t".format
)


@given(secret, st.sampled_from(["{}@", "{}/b@", "b@{}@", "b/{}@", "{}?b@", "{}#@", "8080@{}@"]))
def test_redact_passwords(secret: str, form: str) -> None:
    for start in ("sftp://me:", "https://me@home:", "https://:"):
        location = f"{start}{form.format(secret)}host/a.wav"
        assert storage.redact(f"failed: {location}: so") == f"failed: {start}***@host/a.wav: so"
        assert storage.redact(storage.redact(location)) == storage.redact(location)
        with pytest.raises(PlaceError, match="with a password"):
            storage.read_bytes(location)


@pytest.mark.parametrize(
    "location",
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
def test_redact_keeps_plain_urls(location: str) -> None:
    assert storage.redact(location) == location


def test_web_token_is_refused() -> None:
    with pytest.raises(PlaceError, match=r"https://\*\*\*@host/a\.wav") as caught:
        storage.read_bytes("https://hunter2@host/a.wav")
    assert "hunter2" not in str(caught.value)


def test_paths_without_fsspec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    storage.write_bytes(file, b"x")
    assert (
        list(storage.list_files(str(tmp_path)))
        == list(storage.find_files(str(tmp_path / "*" / "*.wav")))
        == [file]
    )
    assert storage.read_bytes(file) == b"x"
    for url, extra in (("s3://b/1", "s3"), ("gs://b/1", "gcs"), ("memory://b/1", "distributed")):
        for asked in (storage.read_bytes, storage.exists, lambda url: list(storage.list_files(url))):
            with pytest.raises(MissingExtraError, match=rf"-m pip install .*\[{extra}\]'"):
                asked(url)


def test_missing_store_library(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")

    def missing(scheme: str) -> None:
        raise ImportError(f"install {scheme}fs")

    with pytest.raises(PlaceError, match="unknown scheme nosuch://"):
        storage.read_bytes("nosuch://a/b")
    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(MissingExtraError, match=r"\[s3\]"):
        storage.read_bytes("s3://a/b")
    with pytest.raises(PlaceError, match="not installed: install sftpfs"):
        storage.read_bytes("sftp://a/b")


def test_full_disk(tmp_path: Path) -> None:
    def filled() -> None:
        with storage.open_write(str(tmp_path / "1.wav")) as stream:
            stream.write(b"x")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(PlaceError, match="No space left") as caught:
        filled()
    assert caught.value.is_full
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(PlaceError) as caught:
        storage.write_bytes(str(tmp_path / "a\0b"), b"")
    assert not caught.value.is_full


def test_local_names(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match="another machine"):
        storage.read_bytes("file://elsewhere/a.wav")
    (tmp_path / "a b%20").write_bytes(b"x")
    assert storage.read_bytes(f"file://{tmp_path}/a%20b%2520") == b"x"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "1.wav").write_bytes(b"x")
    (tmp_path / "circle").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "dead.wav").symlink_to(tmp_path / "none.wav")
    found = [one.removeprefix(f"{tmp_path}/") for one in storage.list_files(str(tmp_path))]
    assert found == ["a b%20", "dead.wav", "folder/1.wav"], "no folder twice, and a dead link is told"


def test_non_atomic_store(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setattr(storage, "_ATOMIC_UPLOADS", set())
    folder = f"memory://{uuid4().hex}/a"
    storage.write_bytes(f"{folder}/1.wav", b"x")
    assert list(storage.list_files(folder)) == [f"{folder}/1.wav"]
    assert storage.read_bytes(f"{folder}/1.wav") == b"x"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_durable_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def noted(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)

    monkeypatch.setattr("os.fsync", noted)
    with atomic_path(tmp_path / "a.txt", durable=True) as partial:
        partial.write_text("x")
    assert synced == [partial.name, tmp_path.name]
    with atomic_path(tmp_path / "b.txt") as partial:
        partial.write_text("x")
    assert len(synced) == 2
