"""Read a request's body into files of bounded size that are gone when the request ends.

Nothing in a body is trusted: neither its declared length, nor the names and types of its parts. Files are in
memory up to 1 MiB, then in a temporary file without a name, so that not even a crash leaves one behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from emovox.inference.adaptation import MAX_PROFILE_BYTES
from emovox.server.schemas import Refusal

__all__ = ["MAX_NAME", "RequestBody", "Upload", "base_name", "read_body"]

MAX_NAME = 255
"""Characters of a file name that are returned."""

_IN_MEMORY = 1 << 20
_PARTS = ("file", "profile", "segments")


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a request."""

    name: str | None
    """Its base name as the client gave it; returned, never opened."""
    file: BinaryIO


@dataclass(frozen=True, slots=True)
class RequestBody:
    """The content of a request."""

    files: tuple[Upload, ...]
    profile: bytes | None = None
    segments: bytes | None = None
    """A transcript or label file."""


def base_name(name: str | None) -> str | None:
    """Return the last part of a path of any system, at most `MAX_NAME` characters."""
    if name is None:
        return None
    last = PurePosixPath(PureWindowsPath(name).name).name[:MAX_NAME]
    return last.encode(errors="replace").decode() or None  # halves of surrogates cannot be sent back


@asynccontextmanager
async def read_body(
    request: Request, *, max_bytes: int, max_files: int, timeout_s: float
) -> AsyncIterator[RequestBody]:
    """Read the body of ``request``; its files are closed when the context is left.

    Raises:
        Refusal: 413, more bytes or files than may be, declared or sent; 400, nothing, or no form that can be
            read; 408, it took longer than ``timeout_s``; 415, another kind of multipart.
    """
    _check_length(request, max_bytes)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type.startswith("multipart/") and content_type != "multipart/form-data":
        raise Refusal(415, "not_audio", f"got {content_type[:80]}; expected multipart/form-data, or audio")
    stream = _limit_stream(request, max_bytes)
    read = _read_form if content_type == "multipart/form-data" else _read_raw
    try:
        async with asyncio.timeout(timeout_s):
            body = await read(request, stream, max_files)
    except TimeoutError:
        raise Refusal(
            408, "too_slow", f"the body did not arrive within {timeout_s:g} s; send less, or faster"
        ) from None
    try:
        yield body
    finally:
        for upload in body.files:
            upload.file.close()


def _check_length(request: Request, max_bytes: int) -> None:
    """Refuse a declared length before a byte is read."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise _make_size_refusal(max_bytes)


async def _limit_stream(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield and count the body: the declared length may be false, and chunked bodies have none."""
    n = 0
    try:
        async for chunk in request.stream():
            n += len(chunk)
            if n > max_bytes:
                raise _make_size_refusal(max_bytes)
            yield chunk
    except ClientDisconnect:
        raise Refusal(499, "gone", "the client disconnected before its body arrived") from None


async def _read_raw(request: Request, stream: AsyncGenerator[bytes, None], max_files: int) -> RequestBody:
    file = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
    try:
        upload = UploadFile(cast(BinaryIO, file), size=0)  # writes in a thread once it is on the disk
        async for chunk in stream:
            await upload.write(chunk)
        if not upload.size:
            raise Refusal(400, "empty", "the body is empty; send a recording, or a form with parts 'file'")
        await upload.seek(0)
    except BaseException:
        file.close()
        raise
    return RequestBody((Upload(None, cast(BinaryIO, file)),))


class _FormParser(MultiPartParser):
    """Refuses a form that ends within a part, which starlette leaves out silently, its file open."""

    _is_in_part = False

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        super().on_header_field(data, start, end)
        self._is_in_part = True

    def on_part_end(self) -> None:
        super().on_part_end()
        self._is_in_part = False

    async def parse(self) -> FormData:
        form = await super().parse()
        if self._is_in_part:
            for file in self._files_to_close_on_error:
                file.close()
            raise MultiPartException("The form ends within a part.")
        return form


async def _read_form(request: Request, stream: AsyncGenerator[bytes, None], max_files: int) -> RequestBody:
    parser = _FormParser(
        _without_charset(request.headers["content-type"]),
        stream,
        max_files=max_files + 2,  # and a profile and segments
        max_fields=3,
        max_part_size=MAX_PROFILE_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        status = 413 if error.message.startswith("Too many files") else 400
        raise Refusal(status, "bad_form", f"{error.message} Expected multipart/form-data") from None
    uploads = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
    try:
        return await _sort_parts(form.multi_items(), max_files)
    except BaseException:
        for part in uploads:
            part.file.close()
        raise


def _without_charset(content_type: str) -> Headers:
    """Return the header without a charset, which the parser would use to decode names, with any codec."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if boundary is None:
        return Headers({"content-type": "multipart/form-data"})
    quoted = boundary.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return Headers(raw=[(b"content-type", b'multipart/form-data; boundary="' + quoted + b'"')])


async def _sort_parts(parts: list[tuple[str, UploadFile | str]], max_files: int) -> RequestBody:
    files: list[Upload] = []
    texts: dict[str, list[bytes]] = {"profile": [], "segments": []}
    for name, part in parts:
        if name not in _PARTS:
            raise Refusal(
                400,
                "bad_form",
                f"a part is named {name[:80]!r}; expected 'file', 'profile' or 'segments', and options such "
                "as labels in the query of the address",
            )
        if name in texts:
            texts[name].append(await _read_text(part, name))
        elif isinstance(part, str):
            raise Refusal(400, "bad_form", "a part 'file' is not a file; give it a filename")
        else:
            files.append(Upload(base_name(part.filename), part.file))
    if not files:
        raise Refusal(400, "empty", "there is no part named 'file'; expected a recording or several")
    if len(files) > max_files or any(len(found) > 1 for found in texts.values()):
        raise Refusal(413, "bad_form", f"expected at most {max_files} files, one profile and one of segments")
    profile, segments = (found[0] if found else None for found in texts.values())
    return RequestBody(tuple(files), profile, segments)


async def _read_text(part: UploadFile | str, name: str) -> bytes:
    if isinstance(part, str):
        return part.encode()
    text = await part.read(MAX_PROFILE_BYTES + 1)
    part.file.close()
    if len(text) > MAX_PROFILE_BYTES:
        raise Refusal(413, "too_large", f"the {name} part has more than {MAX_PROFILE_BYTES} bytes; send less")
    return text


def _make_size_refusal(max_bytes: int) -> Refusal:
    return Refusal(413, "too_large", f"the body has more than {max_bytes / 1e6:g} MB; send less, or in parts")
