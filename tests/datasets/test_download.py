"""Downloads from an unreliable server: a file is complete or absent."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from emovox.datasets import CORPORA
from emovox.datasets import download as fetch
from emovox.datasets.download import SOURCES, RemoteFile, download_files, instructions, unpack
from emovox.errors import DownloadError, ManifestError

CONTENT = bytes(range(256)) * 4000
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


class Server:
    """Serves ``content`` and remembers what was asked; its manners can be changed while it runs."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.etag: str | None = '"1"'
        self.cut_after: list[int] = []
        """How many bytes each next answer gives before the line goes dead."""
        self.status: list[int] = []
        self.ranges = True
        self.asked: list[dict[str, str]] = []
        self.gate: threading.Event | None = None
        self.busy = threading.Event()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(dict(handler.headers))
        if self.status:
            handler.send_error(self.status.pop(0))
            return
        content, first = self.content, 0
        wanted = handler.headers.get("Range")
        if wanted and self.ranges and handler.headers.get("If-Range") == self.etag:
            first = int(wanted.removeprefix("bytes=").rstrip("-"))
            if first >= len(content):
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{len(content)}")
                handler.end_headers()
                return
        handler.send_response(206 if first else 200)
        if first:
            handler.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if self.etag:
            handler.send_header("ETag", self.etag)
        handler.send_header("Content-Length", str(len(content) - first))
        handler.end_headers()
        rest = content[first:]
        self.busy.set()
        if self.gate is not None:
            handler.wfile.write(rest[:100])
            handler.wfile.flush()
            self.gate.wait(20)
            rest = rest[100:]
        handler.wfile.write(rest[: self.cut_after.pop(0)] if self.cut_after else rest)


@pytest.fixture
def server() -> Iterator[tuple[Server, str]]:
    manners = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            manners.answer(self)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield manners, f"http://127.0.0.1:{listening.server_address[1]}/x.zip"
        listening.shutdown()
        thread.join()


def get(
    url: str, folder: Path, *, checksum: str | None = MD5, n_bytes: int | None = None, **more: Any
) -> Path:
    return fetch.download_file(RemoteFile(url, "x.zip", checksum, n_bytes), folder, pause_s=0.0, **more)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_download_is_atomic(server: tuple[Server, str], tmp_path: Path) -> None:
    seen: list[int] = []
    path = get(server[1], tmp_path / "new", progress=seen.append)
    assert path.read_bytes() == CONTENT
    assert sum(seen) == len(CONTENT)
    assert files(tmp_path / "new") == {"x.zip"}
    assert get(server[1], tmp_path / "new") == path
    assert len(server[0].asked) == 1, "a whole file is not asked for again"


def test_same_run_resumes(server: tuple[Server, str], tmp_path: Path) -> None:
    server[0].cut_after = [300_000, 200_000]
    assert get(server[1], tmp_path).read_bytes() == CONTENT
    assert [asked.get("Range") for asked in server[0].asked] == [None, "bytes=300000-", "bytes=500000-"]


def test_next_run_resumes(server: tuple[Server, str], tmp_path: Path) -> None:
    server[0].cut_after = [300_000, 0, 0, 0]
    with pytest.raises(DownloadError, match="300,000 bytes here; run this again"):
        get(server[1], tmp_path, retries=2)
    assert files(tmp_path) == {"x.zip.part", "x.zip.part.json"}
    server[0].cut_after = []
    assert get(server[1], tmp_path).read_bytes() == CONTENT
    assert server[0].asked[-1]["Range"] == "bytes=300000-"
    assert files(tmp_path) == {"x.zip"}


def test_changed_file_restarts(server: tuple[Server, str], tmp_path: Path) -> None:
    server[0].cut_after = [300_000, 0, 0]
    with pytest.raises(DownloadError):
        get(server[1], tmp_path, retries=1)
    server[0].cut_after, server[0].etag = [], '"2"'
    server[0].content = bytes(reversed(CONTENT))
    path = get(server[1], tmp_path, checksum=None)
    assert path.read_bytes() == server[0].content


@pytest.mark.parametrize("manners", ["no ranges", "no version"])
def test_servers_that_cannot_resume(manners: str, server: tuple[Server, str], tmp_path: Path) -> None:
    server[0].ranges = manners != "no ranges"
    server[0].etag = None if manners == "no version" else '"1"'
    server[0].cut_after = [300_000]
    seen: list[int] = []
    assert get(server[1], tmp_path, progress=seen.append).read_bytes() == CONTENT
    assert sum(seen) == len(CONTENT)


def test_complete_part_is_finished(server: tuple[Server, str], tmp_path: Path) -> None:
    server[0].cut_after = [len(CONTENT) - 1, 0, 0]
    with pytest.raises(DownloadError):
        get(server[1], tmp_path, retries=1)
    with (tmp_path / "x.zip.part").open("ab") as stream:
        stream.write(CONTENT[-1:])
    server[0].cut_after = []
    assert get(server[1], tmp_path).read_bytes() == CONTENT


def test_wrong_checksum_leaves_nothing(server: tuple[Server, str], tmp_path: Path) -> None:
    server[0].content = CONTENT[:-1] + b"?"
    with pytest.raises(DownloadError, match="wrong checksum"):
        get(server[1], tmp_path)
    assert files(tmp_path) == set()


def test_wrong_size_is_refused(server: tuple[Server, str], tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="expected 5"):
        get(server[1], tmp_path, n_bytes=5)
    assert files(tmp_path) == set()


def test_wrong_file_is_replaced(server: tuple[Server, str], tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"half")
    assert get(server[1], tmp_path).read_bytes() == CONTENT


def test_404_is_final(server: tuple[Server, str], tmp_path: Path) -> None:
    server[0].status = [404]
    with pytest.raises(DownloadError, match="404"):
        get(server[1], tmp_path)
    assert len(server[0].asked) == 1
    server[0].status = [500, 503]
    assert get(server[1], tmp_path).read_bytes() == CONTENT


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="connection"):
        get("http://127.0.0.1:9/x.zip", tmp_path, retries=1)
    with pytest.raises(DownloadError, match="begins with http"):
        get("file:///etc/passwd", tmp_path)
    assert files(tmp_path) == set()


def test_disk_space_is_checked(
    server: tuple[Server, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DownloadError, match="no space left"):
        get(server[1], tmp_path)
    assert "x.zip" not in files(tmp_path)


def test_disk_full_keeps_part(
    server: tuple[Server, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            if self.tell() + len(data) > 500_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    whole = Path.open

    def opened(self: Path, mode: str = "r", *args: Any, **more: Any) -> Any:
        if self.name == "x.zip.part" and mode in ("ab", "wb"):
            return Full(self, mode[0])
        return whole(self, mode, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with pytest.raises(DownloadError, match="no space left"):
            get(server[1], tmp_path)
    assert "x.zip" not in files(tmp_path)
    here = (tmp_path / "x.zip.part").stat().st_size
    assert here > 0
    assert get(server[1], tmp_path).read_bytes() == CONTENT
    assert server[0].asked[-1]["Range"] == f"bytes={here}-"


def test_parallel_downloads_are_locked(server: tuple[Server, str], tmp_path: Path) -> None:
    server[0].gate = threading.Event()
    first: list[Path] = []
    thread = threading.Thread(target=lambda: first.append(get(server[1], tmp_path)))
    thread.start()
    assert server[0].busy.wait(20)
    with pytest.raises(DownloadError, match="another process"):
        get(server[1], tmp_path)
    server[0].gate.set()
    thread.join()
    assert first[0].read_bytes() == CONTENT
    assert files(tmp_path) == {"x.zip"}


def test_one_failure_stops_no_other(server: tuple[Server, str], tmp_path: Path) -> None:
    good = [RemoteFile(server[1], f"{n}.zip", MD5) for n in range(5)]
    bad = RemoteFile(server[1], "bad.zip", "md5:" + "0" * 32)
    found = list(download_files([*good[:2], bad, *good[2:]], tmp_path))
    assert [one.remote.name for one in found] == ["0.zip", "1.zip", "bad.zip", "2.zip", "3.zip", "4.zip"]
    assert [one.error is None for one in found] == [True, True, False, True, True, True]
    assert files(tmp_path) == {f"{n}.zip" for n in range(5)}


# --- archives and addresses ------------------------------------------------------------------------------


def zipped(path: Path, names: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in names.items():
            packed.writestr(name, content)
    return path


def tarred(path: Path, names: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as packed:
        for name, content in names.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize(("pack", "name"), [(zipped, "a.zip"), (tarred, "a.tar.gz")])
def test_archives(pack: Callable[[Path, dict[str, bytes]], Path], name: str, tmp_path: Path) -> None:
    archive = pack(tmp_path / name, {"x/1.wav": b"1"})
    folder = unpack(archive, tmp_path / "out")
    assert folder == tmp_path / "out" / "a"
    assert (folder / "x" / "1.wav").read_bytes() == b"1"
    (folder / "x" / "1.wav").write_bytes(b"mine")
    assert unpack(archive, tmp_path / "out") == folder
    assert (folder / "x" / "1.wav").read_bytes() == b"mine", "a whole folder is left alone"


@pytest.mark.parametrize("name", ["half.zip", "half.tar.gz"])
def test_damaged_archive_leaves_nothing(name: str, tmp_path: Path) -> None:
    pack = zipped if name.endswith(".zip") else tarred
    content = {f"{n}.wav": os.urandom(2000) for n in range(20)}
    archive = pack(tmp_path / name, content)
    archive.write_bytes(archive.read_bytes()[:-9000])
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out")
    assert files(tmp_path / "out") == set()


def test_archives_stay_in_their_folder(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        unpack(tarred(tmp_path / "evil.tar.gz", {"../../evil.txt": b"x"}), tmp_path / "a" / "out")
    unpack(zipped(tmp_path / "evil.zip", {"../../evil.txt": b"x"}), tmp_path / "a" / "out")
    assert [path.parent.name for path in tmp_path.rglob("evil.txt")] == ["evil"]


def test_every_corpus_has_instructions() -> None:
    assert set(SOURCES) <= set(CORPORA)
    for name in CORPORA:
        assert CORPORA[name].url in instructions(name)
    for name in set(CORPORA) - set(SOURCES):
        assert not instructions(name).endswith("download it there"), name
        assert name in fetch._STEPS
    for remotes in SOURCES.values():
        assert len({remote.name for remote in remotes}) == len(remotes)
        assert all(remote.url.startswith("http") for remote in remotes)
    with pytest.raises(ManifestError, match="did you mean 'emodb'"):
        instructions("emobd")
