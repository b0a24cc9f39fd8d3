"""Open a path, bytes in memory or a file object as one seekable reader."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

from numpy.typing import NDArray

from emovox._files import find_file
from emovox.errors import AudioDecodeError, AudioError, AudioNotFoundError, AudioValueError

__all__ = ["MAX_STREAM_BYTES", "ForwardReader", "Reader", "Source", "can_reread", "is_array", "open_reader"]

Source: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | NDArray[Any]
"""A path, the bytes of a file, a binary file object, or an array of samples."""

MAX_STREAM_BYTES = 1 << 29
"""A file object that cannot seek is read whole, up to 512 MiB: 4.6 hours of 16 kHz, 16-bit wav."""


class ForwardReader(Protocol):
    """What a media decoder needs of its file: a `Reader`, or a stream that cannot go back."""

    label: str
    error: Exception | None

    def read(self, count: int = -1) -> bytes:
        """Return up to ``count`` bytes, none at the end; never raises."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move if possible; return the position."""


class Reader:
    """A seekable binary file that decoders may call back.

    It has no ``name``, so that no decoder guesses by extension, and never lets an exception into a
    decoder's C code: when reading fails the decoder sees the end of the file, and ``error`` has the cause.
    """

    def __init__(self, file: BinaryIO, label: str, *, owned: bool) -> None:
        self.label = label
        self.error: Exception | None = None
        self._file = file
        self._owned = owned
        self._origin = self._start = file.tell()
        self.size = file.seek(0, os.SEEK_END) - self._start
        self._patches: dict[int, bytes] = {}
        file.seek(self._start)

    def read(self, count: int = -1) -> bytes:
        """Return up to ``count`` bytes; fewer at the end, or after an error."""
        try:
            position = self.tell() if self._patches else 0
            data = self._file.read(count) or b""
        except Exception as error:
            self.error = self.error or error
            return b""
        for offset, patch in self._patches.items():
            first, end = max(offset, position), min(offset + len(patch), position + len(data))
            if first < end:
                replaced = patch[first - offset : end - offset]
                data = data[: first - position] + replaced + data[end - position :]
        return data

    def readinto(self, buffer: memoryview) -> int:
        """Fill ``buffer`` as `read` does; return the number of bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def patch(self, offset: int, data: bytes) -> None:
        """Replace the bytes from ``offset`` on in what decoders read; the file is not changed."""
        self._patches[offset] = data

    def skip(self, n_bytes: int) -> None:
        """Make the file begin ``n_bytes`` later."""
        self._start += n_bytes
        self.size -= n_bytes
        self.seek(0)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, relative to the position at which the file object was passed in; never before it."""
        try:
            base = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self.size}[whence]
            return self._file.seek(self._start + max(0, base + offset)) - self._start
        except Exception:  # an impossible position: nothing changes
            return self.tell()

    def tell(self) -> int:
        """Position in bytes."""
        return self._file.tell() - self._start

    def head(self, count: int) -> bytes:
        """The first ``count`` bytes; the position goes back to the start."""
        self.seek(0)
        first = self.read(count)
        self.seek(0)
        return first

    def close(self) -> None:
        """Close a file that was opened here; reset the position of the caller's."""
        if self._owned:
            self._file.close()
        else:
            self._file.seek(self._origin)


def is_array(source: object) -> bool:
    """Whether ``source`` is samples rather than a file."""
    return hasattr(source, "__array__") and not isinstance(source, (str, bytes, bytearray, memoryview))


def can_reread(source: object) -> bool:
    """Whether a source can be read a second time: pipes, FIFOs and terminals cannot."""
    if isinstance(source, (str, os.PathLike)):
        with contextlib.suppress(OSError, ValueError):
            return stat.S_ISREG(Path(source).stat().st_mode)
        return True  # reading reports what is wrong
    if hasattr(source, "seekable"):
        return bool(source.seekable())
    return True


def open_reader(source: object) -> Reader:
    """Open a path, bytes or a file object.

    Raises:
        AudioNotFoundError: there is no such file.
        AudioDecodeError: it is a folder, may not be read, or is empty.
        AudioValueError: not a source at all, or an endless one.
    """
    if isinstance(source, (str, os.PathLike)):
        reader = _open_path(source)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        reader = Reader(io.BytesIO(source), f"{len(source)} bytes", owned=True)
    elif hasattr(source, "read"):
        reader = _open_file(source)
    else:
        raise AudioValueError(
            f"got {type(source).__name__}; expected a path, bytes, a binary file object, or a numpy array"
        )
    if reader.size == 0:
        reader.close()
        raise AudioDecodeError(f"{reader.label}: nothing to read, the file is empty, or was read to its end")
    return reader


def _open_path(source: str | os.PathLike[str]) -> Reader:
    label = os.fspath(source)
    try:
        path = Path(source)
        if path.is_dir():
            raise AudioDecodeError(f"{label}: a folder, not a file; give the files in it")
        # A name typed on macOS, or in a list, may be in the other Unicode form.
        file = (path if path.exists() else Path(find_file(str(path)) or path)).open("rb")
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise AudioNotFoundError(f"{label!r}: no such file; check the path and the current folder") from None
    except OSError as error:
        raise AudioDecodeError(f"{label}: cannot be opened: {error.strerror or error}") from error
    return _reader(file, str(label), owned=True)


def _open_file(file: Any) -> Reader:
    name = getattr(file, "name", None)
    return _reader(file, name if isinstance(name, str) else "file object", owned=False)


def _reader(file: Any, label: str, *, owned: bool) -> Reader:
    keep = False
    try:
        if not isinstance(file.read(0), bytes):
            raise AudioValueError(f"{label}: not bytes; open the file in binary mode ('rb')")
        keep = bool(file.seekable()) if hasattr(file, "seekable") else hasattr(file, "seek")
        if keep:
            return Reader(file, label, owned=owned)
        return Reader(io.BytesIO(_all_bytes(file, label)), label, owned=True)
    except AudioError:
        raise
    except Exception as error:  # a foreign object: whatever it raises means that it cannot be read
        raise AudioDecodeError(f"{label}: cannot be read: {error}") from error
    finally:
        if owned and not keep:
            file.close()


def _all_bytes(file: Any, label: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    while size <= MAX_STREAM_BYTES and (part := file.read(1 << 20)):
        parts.append(part)
        size += len(part)
    if size > MAX_STREAM_BYTES:
        raise AudioValueError(
            f"{label}: more than {MAX_STREAM_BYTES >> 20} MiB, and it cannot seek; save it to a file first"
        )
    return b"".join(parts)
