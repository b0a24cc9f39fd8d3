"""Corpora from where their makers publish them: resumed after a cut, checked, and whole or not there.

A file grows as ``<name>.part``; only when its size and checksum are right does it get its name. A second
process that wants the same file is turned away by a lock. What has no stable public address is not
downloaded: ``advice`` says what to do instead.
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
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from emovox.datasets.corpora import find_corpus
from emovox.errors import DownloadError

__all__ = ["SOURCES", "Fetched", "Remote", "advice", "download", "fetch", "unpack"]

Progress = Callable[[int], None]
"""Told how many bytes have come, or, below zero, that so many were in vain."""

_BLOCK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Remote:
    """A file that can be downloaded."""

    url: str
    name: str
    """What it is called here."""
    checksum: str | None = None
    """``md5:...`` or ``sha256:...``, as its publisher states it; ``None`` where none is stated."""
    n_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of a file: ``path`` when it is whole, else ``error``."""

    remote: Remote
    path: Path | None = None
    error: str | None = None


_ZENODO = "https://zenodo.org/records"
_EMOVDB = {
    "bea": "Amused Angry Disgusted Neutral Sleepy",
    "jenie": "Amused Angry Disgusted Neutral Sleepy",
    "josh": "Amused Neutral Sleepy",
    "sam": "Amused Angry Disgusted Neutral Sleepy",
}

SOURCES: dict[str, tuple[Remote, ...]] = {
    "ravdess": (
        Remote(
            f"{_ZENODO}/1188976/files/Audio_Speech_Actors_01-24.zip?download=1",
            "Audio_Speech_Actors_01-24.zip",
            "md5:bc696df654c87fed845eb13823edef8a",
            208_468_073,
        ),
    ),
    "ravdess_song": (
        Remote(
            f"{_ZENODO}/1188976/files/Audio_Song_Actors_01-24.zip?download=1",
            "Audio_Song_Actors_01-24.zip",
            "md5:5411230427d67a21e18aa4d466e6d1b9",
            225_505_317,
        ),
    ),
    "emodb": (Remote("http://emodb.bilderbar.info/download/download.zip", "emodb.zip"),),
    "emovdb": tuple(
        Remote(f"https://www.openslr.org/resources/115/{who}_{how}.tar.gz", f"{who}_{how}.tar.gz")
        for who, all_ in _EMOVDB.items()
        for how in all_.split()
    ),
    "asvpesd": (Remote(f"{_ZENODO}/7132783/files/ASVP-ESD-Update.zip?download=1", "ASVP-ESD-Update.zip"),),
    "nemo": (Remote("https://github.com/amu-cai/nEMO/archive/refs/heads/main.zip", "nEMO.zip"),),
    "banglaser": (
        Remote(
            "https://prod-dcd-datasets-cache-zipfiles.s3.eu-west-1.amazonaws.com/t9h6p943xy-5.zip",
            "BanglaSER.zip",
        ),
    ),
    "urdu": (
        Remote(
            "https://github.com/siddiquelatif/URDU-Dataset/archive/refs/heads/master.zip", "URDU-Dataset.zip"
        ),
    ),
}
"""The corpora with a stable public address, and their files."""

_STEPS: dict[str, str] = {
    "savee": "register on that page; its authors send a user name",
    "casia": "order it from Chinese LDC under that number",
    "cremad": (
        "run  git lfs clone https://github.com/CheyneyComputerScience/CREMA-D  (the sound lies in Git LFS: a "
        "plain clone or a zip holds only pointers of 130 bytes)"
    ),
    "jlcorpus": "sign in to that page and download the archive",
    "tess": "accept the terms on that page and download all files",
    "esd": "accept the terms on that page; it links to the archive",
    "emovo": "follow the link on that page",
}


def advice(name: str) -> str:
    """How to get the corpus ``name`` by hand, in one line.

    Raises:
        ManifestError: unknown corpus.
    """
    corpus = find_corpus(name)
    step = _STEPS.get(name, "download it there")
    return (
        f"{corpus.title} ({corpus.licence}): {corpus.url} - {step}; then  emovox data check {name} --root DIR"
    )


def download(
    remotes: Sequence[Remote],
    folder: str | Path,
    *,
    workers: int = 4,
    progress: Progress | None = None,
    timeout_s: float = 30.0,
) -> Iterator[Fetched]:
    """Fetch files side by side into ``folder``; results in their order. One that fails costs only itself."""
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="emovox-download") as pool:
        work = partial(_tried, folder=Path(folder), progress=progress, timeout_s=timeout_s)
        try:
            yield from pool.map(work, remotes)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _tried(remote: Remote, folder: Path, progress: Progress | None, timeout_s: float) -> Fetched:
    try:
        return Fetched(remote, fetch(remote, folder, progress=progress, timeout_s=timeout_s))
    except DownloadError as error:
        return Fetched(remote, error=str(error))


def fetch(
    remote: Remote,
    folder: str | Path,
    *,
    progress: Progress | None = None,
    timeout_s: float = 30.0,
    retries: int = 4,
    pause_s: float = 1.0,
) -> Path:
    """Fetch one file into ``folder``, going on where an earlier attempt was cut; a whole one is left alone.

    Args:
        progress: called with the bytes of each block.
        timeout_s: how long the other side may be silent.
        retries: how often a broken connection is taken up again without having brought anything new.
        pause_s: before the first of these; each further one waits twice as long.

    Raises:
        DownloadError: it cannot be had, is not what was promised, does not fit, or is being fetched already.
    """
    target = Path(folder) / remote.name
    scheme = urllib.parse.urlsplit(remote.url).scheme
    if scheme not in ("http", "https"):
        raise DownloadError(f"{remote.url!r}: expected an address that begins with http:// or https://")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target):
            if target.exists() and _known_whole(remote, target):
                return target
            return _Attempt(remote, target, progress or (lambda n: None), timeout_s).run(retries, pause_s)
    except OSError as error:
        raise _from_os(remote, target, error) from error


def _from_os(remote: Remote, target: Path, error: OSError) -> DownloadError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadError(
            f"{remote.name}: no space left in {str(target.parent)!r}; make room and run this again: what has "
            "come so far is kept"
        )
    return DownloadError(f"{remote.name}: {error}")


def _known_whole(remote: Remote, target: Path) -> bool:
    """Whether the file under the final name is the right one, as far as anybody stated what that is."""
    if remote.n_bytes is not None and target.stat().st_size != remote.n_bytes:
        return False
    return remote.checksum is None or _digest(target, remote.checksum) == remote.checksum


def _digest(path: Path, like: str) -> str:
    """The checksum of a file, of the kind that ``like`` is."""
    kind = like.partition(":")[0]
    total = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            total.update(block)
    return f"{kind}:{total.hexdigest()}"


class _CutError(Exception):
    """The connection broke; what has come so far is good."""


class _Attempt:
    """One file on its way."""

    def __init__(self, remote: Remote, target: Path, progress: Progress, timeout_s: float) -> None:
        self.remote, self.target, self.progress, self.timeout_s = remote, target, progress, timeout_s
        self.part = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")

    def run(self, retries: int, pause_s: float) -> Path:
        self.progress(self._n_here())
        left = retries
        while True:
            before = self._n_here()
            try:
                self._once()
                return self._finished()
            except _CutError as error:
                left = retries if self._n_here() > before else left - 1
                if left <= 0:
                    raise DownloadError(
                        f"{self.remote.name}: the connection broke ({error}) with {self._n_here():,} bytes "
                        "here; run this again, it will go on from there"
                    ) from error
                time.sleep(pause_s * 2 ** (retries - left))

    def _n_here(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _once(self) -> None:
        """Ask for what is missing, and take it."""
        start, mark = self._n_here(), self._mark()
        if start and mark is None:  # nobody can say that the rest would be of the same file
            start = self._restart()
        headers = {"Accept-Encoding": "identity", "User-Agent": "emovox"}
        if start and mark is not None:
            headers |= {"Range": f"bytes={start}-", "If-Range": mark}
        try:
            request = urllib.request.Request(self.remote.url, headers=headers)
            with urllib.request.urlopen(request, timeout=self.timeout_s) as answer:
                self._take(answer, start)
        except urllib.error.HTTPError as error:
            self._refused(error, start)
        except urllib.error.URLError as error:
            raise _CutError(str(error.reason)) from error
        except (HTTPException, ConnectionError, TimeoutError) as error:
            raise _CutError(str(error) or type(error).__name__) from error

    def _refused(self, error: urllib.error.HTTPError, start: int) -> None:
        with error:
            if error.code == 416 and start:  # nothing is missing, or the file over there is another one now
                if start != _total(error.headers):
                    self._restart()
                    raise _CutError("the file over there has changed") from error
                return
            if error.code >= 500 or error.code in (408, 429):
                raise _CutError(f"{error.code} {error.reason}") from error
            raise DownloadError(
                f"{self.remote.url}: {error.code} {error.reason}; has it moved? See `emovox data list`"
            ) from error

    def _take(self, answer: Any, start: int) -> None:
        resumed = answer.status == 206 and _first(answer.headers) == start
        if start and not resumed:
            start = self._restart()
        if answer.status == 206 and not resumed:
            raise _CutError("a part came that was not asked for")
        length = answer.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        self._check_size(total)
        self._leave_mark(answer.headers, total)
        _check_room(self.target.parent, 0 if total is None else total - start)
        with self.part.open("ab" if start else "wb") as stream:
            while block := answer.read(_BLOCK_BYTES):
                stream.write(block)
                self.progress(len(block))
        if total is not None and self._n_here() < total:
            raise _CutError(f"{self._n_here():,} of {total:,} bytes came")

    def _check_size(self, total: int | None) -> None:
        expected = self.remote.n_bytes
        if total is not None and expected is not None and total != expected:
            self._restart()
            raise DownloadError(
                f"{self.remote.name}: the file there has {total:,} bytes, expected {expected:,}; it was "
                "replaced, or a page stands in its place"
            )

    def _finished(self) -> Path:
        """Check what has come, and give it its name."""
        n_bytes, wanted = self._n_here(), self.remote.checksum
        if self.remote.n_bytes is not None and n_bytes != self.remote.n_bytes:
            self._restart()
            raise DownloadError(
                f"{self.remote.name}: {n_bytes:,} bytes came, expected {self.remote.n_bytes:,}"
            )
        if wanted is not None and (found := _digest(self.part, wanted)) != wanted:
            self._restart()
            raise DownloadError(
                f"{self.remote.name}: wrong checksum {found}, expected {wanted}; what came was thrown away: "
                "try again, and if it happens again, the file there has changed"
            )
        self.part.replace(self.target)
        self.note.unlink(missing_ok=True)
        return self.target

    def _restart(self) -> int:
        self.progress(-self._n_here())
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        return 0

    def _mark(self) -> str | None:
        """By what the other side names the version of which a part is here."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            return str(note["mark"]) if note["url"] == self.remote.url and note["mark"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _leave_mark(self, headers: Message, total: int | None) -> None:
        etag = headers.get("ETag")
        strong = etag if etag and not etag.startswith("W/") else None
        note = {"url": self.remote.url, "mark": strong or headers.get("Last-Modified"), "n_bytes": total}
        self.note.write_text(json.dumps(note), encoding="utf-8")


def _first(headers: Message) -> int | None:
    """Where the part begins that ``Content-Range: bytes 5-9/10`` announces."""
    unit, _, rest = str(headers.get("Content-Range", "")).partition(" ")
    first = rest.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdecimal() else None


def _total(headers: Message) -> int | None:
    """The length of the whole file in ``Content-Range: bytes */10``."""
    total = str(headers.get("Content-Range", "")).rpartition("/")[2]
    return int(total) if total.isdecimal() else None


def _check_room(folder: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise OSError(errno.ENOSPC, f"{n_bytes:,} bytes are to come, {free:,} are free")


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Nobody else fetches ``target`` meanwhile; the lock ends with the process, however that ends."""
    lock = target.with_name(f"{target.name}.lock")
    with lock.open("a+b") as stream:
        if not _lock(stream) or not _still_there(stream, lock):
            raise DownloadError(f"{target.name}: another download of it is under way; let it end")
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _lock(stream: IO[bytes]) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _still_there(stream: IO[bytes], lock: Path) -> bool:
    """Whether the lock is the file of that name: its last owner may just have removed it."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), lock.stat())
    except OSError:
        return False


def unpack(archive: str | Path, folder: str | Path) -> Path:
    """Unpack a zip or tar archive into ``folder/<its name>``, whole or not at all; a whole one is left alone.

    Raises:
        DownloadError: it is damaged, no archive, or wants to write outside its folder.
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
