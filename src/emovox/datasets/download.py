"""Download corpora from their publishers: resumed after an interruption, verified, complete or absent.

A file grows as ``<name>.part`` and gets its name when its size and checksum are right. A lock keeps a second
process from downloading the same file. A corpus without a stable public address is not downloaded:
`instructions` says what to do instead.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import Any

from emovox.datasets.corpora import find_corpus
from emovox.errors import DownloadError

__all__ = [
    "SOURCES",
    "DownloadResult",
    "RemoteFile",
    "download_file",
    "download_files",
    "instructions",
    "unpack",
]

Progress = Callable[[int], None]
"""Called with the number of bytes that came; below zero: that many are discarded."""

_BLOCK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that can be downloaded."""

    url: str
    name: str
    """Its name on disk."""
    checksum: str | None = None
    """``md5:...`` or ``sha256:...``, as its publisher states it; ``None`` where none is stated."""
    n_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """The outcome for one file: ``path`` when it is complete, else ``error``."""

    remote: RemoteFile
    path: Path | None = None
    error: str | None = None


_ZENODO = "https://zenodo.org/records"
_EMOVDB = {
    "bea": "Amused Angry Disgusted Neutral Sleepy",
    "jenie": "Amused Angry Disgusted Neutral Sleepy",
    "josh": "Amused Neutral Sleepy",
    "sam": "Amused Angry Disgusted Neutral Sleepy",
}

SOURCES: dict[str, tuple[RemoteFile, ...]] = {
    "ravdess": (
        RemoteFile(
            f"{_ZENODO}/1188976/files/Audio_Speech_Actors_01-24.zip?download=1",
            "Audio_Speech_Actors_01-24.zip",
            "md5:bc696df654c87fed845eb13823edef8a",
            208_468_073,
        ),
    ),
    "ravdess_song": (
        RemoteFile(
            f"{_ZENODO}/1188976/files/Audio_Song_Actors_01-24.zip?download=1",
            "Audio_Song_Actors_01-24.zip",
            "md5:5411230427d67a21e18aa4d466e6d1b9",
            225_505_317,
        ),
    ),
    "emodb": (RemoteFile("http://emodb.bilderbar.info/download/download.zip", "emodb.zip"),),
    "emovdb": tuple(
        RemoteFile(
            f"https://www.openslr.org/resources/115/{speaker}_{emotion}.tar.gz", f"{speaker}_{emotion}.tar.gz"
        )
        for speaker, emotions in _EMOVDB.items()
        for emotion in emotions.split()
    ),
    "asvpesd": (
        RemoteFile(f"{_ZENODO}/7132783/files/ASVP-ESD-Update.zip?download=1", "ASVP-ESD-Update.zip"),
    ),
    "nemo": (RemoteFile("https://github.com/amu-cai/nEMO/archive/refs/heads/main.zip", "nEMO.zip"),),
    "banglaser": (
        RemoteFile(
            "https://prod-dcd-datasets-cache-zipfiles.s3.eu-west-1.amazonaws.com/t9h6p943xy-5.zip",
            "BanglaSER.zip",
        ),
    ),
    "urdu": (
        RemoteFile(
            "https://github.com/siddiquelatif/URDU-Dataset/archive/refs/heads/master.zip", "URDU-Dataset.zip"
        ),
    ),
}
"""The corpora with a stable public address, and their files."""

_STEPS: dict[str, str] = {
    "savee": "register on that page; its authors send a user name",
    "casia": "order it from Chinese LDC under that number",
    "cremad": (
        "run  git lfs clone https://github.com/CheyneyComputerScience/CREMA-D  (the sound is in Git LFS: a "
        "plain clone or a zip holds only pointers of 130 bytes)"
    ),
    "jlcorpus": "sign in to that page and download the archive",
    "tess": "accept the terms on that page and download all files",
    "esd": "accept the terms on that page; it links to the archive",
    "emovo": "follow the link on that page",
}


def instructions(name: str) -> str:
    """How to get the corpus ``name`` by hand, in one line.

    Raises:
        ManifestError: unknown corpus.
    """
    corpus = find_corpus(name)
    step = _STEPS.get(name, "download it there")
    return (
        f"{corpus.title} ({corpus.licence}): {corpus.url} - {step}; then  emovox data check {name} --root DIR"
    )


def download_files(
    remotes: Sequence[RemoteFile],
    folder: str | Path,
    *,
    workers: int = 4,
    progress: Progress | None = None,
    timeout_s: float = 30.0,
) -> Iterator[DownloadResult]:
    """Download files in parallel into ``folder``; results in their order. One failure stops no other."""

    def download(remote: RemoteFile) -> DownloadResult:
        try:
            return DownloadResult(
                remote, download_file(remote, folder, progress=progress, timeout_s=timeout_s)
            )
        except DownloadError as error:
            return DownloadResult(remote, error=str(error))

    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="emovox-download") as pool:
        try:
            yield from pool.map(download, remotes)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def download_file(
    remote: RemoteFile,
    folder: str | Path,
    *,
    progress: Progress | None = None,
    timeout_s: float = 30.0,
    retries: int = 4,
    pause_s: float = 1.0,
) -> Path:
    """Download one file into ``folder``, resuming an earlier attempt; a complete file is left as it is.

    Args:
        progress: called with the bytes of each block.
        timeout_s: how long the server may be silent.
        retries: how often a broken connection is retried without any new bytes.
        pause_s: before the first retry; each further one waits twice as long.

    Raises:
        DownloadError: the file cannot be downloaded or is wrong, the disk is full, or another process is
            downloading it.
    """
    target = Path(folder) / remote.name
    if urllib.parse.urlsplit(remote.url).scheme not in ("http", "https"):
        raise DownloadError(f"{remote.url!r}: expected an address that begins with http:// or https://")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock_file(target):
            if target.exists() and _is_complete(remote, target):
                return target
            return _Download(remote, target, progress or (lambda n: None), timeout_s).run(retries, pause_s)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DownloadError(
                f"{remote.name}: no space left in {str(target.parent)!r}; free some and run this again: what "
                "was downloaded so far is kept"
            ) from error
        raise DownloadError(f"{remote.name}: {error}") from error


def _is_complete(remote: RemoteFile, target: Path) -> bool:
    """Whether the file has the size and checksum that its publisher states, if any."""
    if remote.n_bytes is not None and target.stat().st_size != remote.n_bytes:
        return False
    return remote.checksum is None or _digest(target, remote.checksum) == remote.checksum


def _digest(path: Path, like: str) -> str:
    """The checksum of a file, of the same kind as ``like``."""
    kind = like.partition(":")[0]
    with path.open("rb") as stream:
        total = hashlib.file_digest(stream, lambda: hashlib.new(kind, usedforsecurity=False))
    return f"{kind}:{total.hexdigest()}"


class _InterruptedError(Exception):
    """The connection broke; what has come so far is good."""


class _Download:
    """One file being downloaded; ``<name>.part.json`` holds the server's mark of the version in ``.part``."""

    def __init__(self, remote: RemoteFile, target: Path, progress: Progress, timeout_s: float) -> None:
        self.remote, self.target, self.progress, self.timeout_s = remote, target, progress, timeout_s
        self.part = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")

    @property
    def n_bytes(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self, retries: int, pause_s: float) -> Path:
        self.progress(self.n_bytes)
        left = retries
        while True:
            before = self.n_bytes
            try:
                self._request()
                return self._finish()
            except _InterruptedError as error:
                left = retries if self.n_bytes > before else left - 1
                if left <= 0:
                    raise DownloadError(
                        f"{self.remote.name}: the connection broke ({error}) with {self.n_bytes:,} bytes "
                        "here; run this again, it will resume there"
                    ) from error
                time.sleep(pause_s * 2 ** (retries - left))

    def _request(self) -> None:
        """Request the missing bytes and append them."""
        start, mark = self.n_bytes, self._read_mark()
        if start and mark is None:  # the rest might be that of another version
            start = self._discard()
        headers = {"Accept-Encoding": "identity", "User-Agent": "emovox"}
        if start and mark is not None:
            headers |= {"Range": f"bytes={start}-", "If-Range": mark}
        try:
            request = urllib.request.Request(self.remote.url, headers=headers)
            with urllib.request.urlopen(request, timeout=self.timeout_s) as answer:
                self._append(answer, start)
        except urllib.error.HTTPError as error:
            with error:
                # 416: nothing is missing, or the file on the server is another one now.
                if error.code == 416 and start:
                    if start != _total_length(error.headers):
                        self._discard()
                        raise _InterruptedError("the file on the server has changed") from error
                elif error.code >= 500 or error.code in (408, 429):
                    raise _InterruptedError(f"{error.code} {error.reason}") from error
                else:
                    raise DownloadError(
                        f"{self.remote.url}: {error.code} {error.reason}; did it move? See `emovox data list`"
                    ) from error
        except urllib.error.URLError as error:
            raise _InterruptedError(str(error.reason)) from error
        except (HTTPException, ConnectionError, TimeoutError) as error:
            raise _InterruptedError(str(error) or type(error).__name__) from error

    def _append(self, answer: Any, start: int) -> None:
        resumed = answer.status == 206 and _range_start(answer.headers) == start
        if start and not resumed:
            start = self._discard()
        if answer.status == 206 and not resumed:
            raise _InterruptedError("the server sent another range than requested")
        length = answer.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        if total is not None and self.remote.n_bytes not in (None, total):
            self._discard()
            raise DownloadError(
                f"{self.remote.name}: the file on the server has {total:,} bytes, expected "
                f"{self.remote.n_bytes:,}; it was replaced, or this is a web page"
            )
        self._write_mark(answer.headers, total)
        missing, free = 0 if total is None else total - start, shutil.disk_usage(self.target.parent).free
        if missing > free:
            raise OSError(errno.ENOSPC, f"{missing:,} bytes are missing, {free:,} are free")
        with self.part.open("ab" if start else "wb") as stream:
            while block := answer.read(_BLOCK_BYTES):
                stream.write(block)
                self.progress(len(block))
        if total is not None and self.n_bytes < total:
            raise _InterruptedError(f"{self.n_bytes:,} of {total:,} bytes came")

    def _finish(self) -> Path:
        """Check what has come, and give it its name."""
        n_bytes, checksum = self.n_bytes, self.remote.checksum
        if self.remote.n_bytes not in (None, n_bytes):
            self._discard()
            raise DownloadError(
                f"{self.remote.name}: {n_bytes:,} bytes came, expected {self.remote.n_bytes:,}"
            )
        if checksum is not None and (found := _digest(self.part, checksum)) != checksum:
            self._discard()
            raise DownloadError(
                f"{self.remote.name}: wrong checksum {found}, expected {checksum}; the file was discarded: "
                "try again, and if it happens again, the file on the server has changed"
            )
        self.part.replace(self.target)
        self.note.unlink(missing_ok=True)
        return self.target

    def _discard(self) -> int:
        self.progress(-self.n_bytes)
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        return 0

    def _read_mark(self) -> str | None:
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            return str(note["mark"]) if note["url"] == self.remote.url and note["mark"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write_mark(self, headers: Message, total: int | None) -> None:
        etag = headers.get("ETag")
        strong = etag if etag and not etag.startswith("W/") else None
        note = {"url": self.remote.url, "mark": strong or headers.get("Last-Modified"), "n_bytes": total}
        self.note.write_text(json.dumps(note), encoding="utf-8")


def _range_start(headers: Message) -> int | None:
    """The first byte of ``Content-Range: bytes 5-9/10``."""
    unit, _, rest = str(headers.get("Content-Range", "")).partition(" ")
    first = rest.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdecimal() else None


def _total_length(headers: Message) -> int | None:
    """The length of the whole file in ``Content-Range: bytes */10``."""
    total = str(headers.get("Content-Range", "")).rpartition("/")[2]
    return int(total) if total.isdecimal() else None


@contextlib.contextmanager
def _lock_file(target: Path) -> Iterator[None]:
    """Hold the lock on downloading ``target``; it ends with the process, however that ends."""
    lock = target.with_name(f"{target.name}.lock")
    with lock.open("a+b") as stream:
        try:
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            else:
                import fcntl

                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last owner may have removed the file between opening and locking.
            if not os.path.samestat(os.fstat(stream.fileno()), lock.stat()):
                raise BlockingIOError
        except OSError as error:
            raise DownloadError(f"{target.name}: another process is downloading it; wait for it") from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def unpack(archive: str | Path, folder: str | Path) -> Path:
    """Unpack a zip or tar archive into ``folder/<its name>``, atomically; a folder that exists is left alone.

    Raises:
        DownloadError: it is damaged, no archive, or would write outside its folder.
    """
    source = Path(archive)
    target = Path(folder) / source.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".zip")
    if target.is_dir():
        return target
    Path(folder).mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=folder))
    try:
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as packed:
                packed.extractall(half)  # drops drive letters, leading slashes and ".." itself
        else:
            with tarfile.open(source) as packed_tar:
                packed_tar.extractall(half, filter="data")
        half.chmod(0o755)
        half.replace(target)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise DownloadError(f"{source.name} cannot be unpacked: {error}; fetch it anew") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return target
