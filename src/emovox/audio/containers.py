"""Repair of headers before decoding: tags before the header, sizes that were never filled in, Opus rates.

A repair is a patch of the bytes that decoders see (`Reader.patch`, `Reader.skip`); the file is not changed.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from emovox.audio.source import Reader

__all__ = ["is_truncated", "mp3_continues", "ogg_needs_timestamps", "repair_header"]

# How far into a file a header is looked for after bytes that belong to no known container.
_MAX_JUNK = 1 << 16
# Sizes that writers leave in the header of a WAV that is still being written.
_UNKNOWN_SIZES = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFFE)
# Tags after the last frame of an MP3 (ID3v1, APE, lyrics) are smaller.
_MAX_MP3_TAGS = 8192
# A jump of an Ogg granule position beyond the packets of its page, in seconds, that is a gap in time.
_OGG_GAP_S = 0.1


def repair_header(reader: Reader) -> None:
    """Patch the header of a recording, if it needs that; the position is at the start afterwards."""
    _skip_tags(reader)
    head = reader.head(64)
    if head[:4] in (b"RIFF", b"RF64", b"RIFX") and head[8:12] == b"WAVE":
        _repair_wav(reader)
    elif head[:4] == b"riff":
        _repair_w64(reader)
    elif head[:4] == b".snd" and head[8:12] == bytes(4):
        reader.patch(8, b"\xff" * 4)  # the length is not known
    elif head[:4] == b"OggS" and b"OpusHead" in head:
        _repair_opus(reader, head)
    reader.seek(0)


def _skip_tags(reader: Reader) -> None:
    """Skip ID3 tags before a container that has no place for them, and other bytes before a RIFF header."""
    head = reader.head(12)
    offset = 0
    while head[:3] == b"ID3" and len(head) >= 10:
        a, b, c, d = head[6:10]
        footer = 10 if head[5] & 0x10 else 0
        offset += 10 + (a << 21 | b << 14 | c << 7 | d) + footer
        reader.seek(offset)
        head = reader.read(12)
    if offset and (head[:4] in _KNOWN_STARTS or head[4:8] == b"ftyp" or head[:1] == b"\xff"):
        reader.skip(offset)
        return
    if not offset and not any(head[:4].startswith(magic) for magic in _KNOWN_STARTS) and head[4:8] != b"ftyp":
        start = reader.head(_MAX_JUNK)
        found = start.find(b"RIFF")
        if found > 0 and start[found + 8 : found + 12] == b"WAVE":
            reader.skip(found)


_KNOWN_STARTS = (
    *(b"RIFF", b"RF64", b"RIFX", b"riff", b"OggS", b"fLaC", b"FORM", b"caff", b".snd"),
    *(b"\x1aE\xdf\xa3", b"#!AM"),
)


class _Layout(NamedTuple):
    """How a container stores its chunks."""

    start: int
    """Offset of the first chunk."""
    name_bytes: int
    size: struct.Struct
    align: int
    counts_head: bool
    """Whether a size includes the name and itself."""


_LAYOUTS = {
    b"RIFF": _Layout(12, 4, struct.Struct("<I"), 2, False),
    b"RF64": _Layout(12, 4, struct.Struct("<I"), 2, False),
    b"RIFX": _Layout(12, 4, struct.Struct(">I"), 2, False),
    b"FORM": _Layout(12, 4, struct.Struct(">I"), 2, False),
    b"caff": _Layout(8, 4, struct.Struct(">q"), 1, False),
    b"riff": _Layout(40, 16, struct.Struct("<Q"), 8, True),  # Sony Wave64
}
_DATA_CHUNKS = (b"data", b"SSND")
# Sizes in AU, CAF and Wave64 of a length that was not known when the header was written.
_UNKNOWN_SIZES_64 = (-1, 0, (1 << 64) - 1, (1 << 63) - 1)


def _chunks(reader: Reader) -> Iterator[tuple[bytes, int, int]]:
    """Yield the first four bytes of the name, the offset of the content, and the size of each chunk."""
    layout = _LAYOUTS[reader.head(4)]
    offset, n_head = layout.start, layout.name_bytes + layout.size.size
    while offset + n_head <= reader.size:
        reader.seek(offset)
        head = reader.read(n_head)
        if len(head) < n_head:
            return
        (size,) = layout.size.unpack(head[layout.name_bytes :])
        if layout.counts_head:
            size -= n_head
        yield head[:4], offset + n_head, size
        if size < 0:
            return
        offset += n_head + size
        offset += -offset % layout.align


def _repair_wav(reader: Reader) -> None:
    """Give the data chunk of a WAV that was never finalised the size of the rest of the file."""
    size_of = _LAYOUTS[reader.head(4)].size
    ds64 = None
    for name, start, size in _chunks(reader):
        if name == b"ds64":
            ds64 = start
        if name != b"data":
            continue
        rest = reader.size - start
        if reader.head(4) == b"RF64" and ds64 is not None and size in (0, 0xFFFFFFFF):
            reader.seek(ds64 + 8)
            (stated,) = struct.unpack("<Q", reader.read(8).ljust(8, b"\0"))
            if stated in _UNKNOWN_SIZES_64 and rest:
                reader.patch(ds64, struct.pack("<QQ", reader.size - 8, rest))
                reader.patch(start - 4, struct.pack("<I", 0xFFFFFFFF))
        elif size in _UNKNOWN_SIZES and size != rest:
            if size == 0 and _ends_in_chunks(reader, start):
                return  # a finalised file without samples
            if reader.head(4) == b"RF64":  # without the chunk that has its sizes
                reader.patch(0, b"RIFF")
            reader.patch(start - 4, size_of.pack(min(rest, 0xFFFFFFFF - 64)))
            reader.patch(4, size_of.pack(min(reader.size - 8, 0xFFFFFFFF - 8)))
        return


def _ends_in_chunks(reader: Reader, offset: int) -> bool:
    """Whether the rest of a RIFF file is nothing but chunks, up to its very end."""
    size_of = _LAYOUTS[reader.head(4)].size
    while offset + 8 <= reader.size:
        reader.seek(offset)
        head = reader.read(8)
        if not head[:4].isascii() or not head[:4].decode("ascii").isprintable():
            return False
        offset += 8 + size_of.unpack(head[4:])[0]
        offset += offset % 2
    return offset in (reader.size, reader.size + 1)


def _repair_w64(reader: Reader) -> None:
    """Let the data chunk of a Wave64 end with the file where its size is unknown."""
    for name, start, size in _chunks(reader):
        if name == b"data":
            if size + 24 in _UNKNOWN_SIZES_64 and reader.size > start:
                reader.patch(start - 8, struct.pack("<Q", reader.size - start + 24))
            return


def is_truncated(reader: Reader) -> bool:
    """Whether a file has less sound than its header says, or more behind the part that decoders read."""
    head = reader.head(12)
    if head[:4] == b"OggS":
        is_last, ends_at = False, 0
        for page, end in _ogg_pages(reader):
            if len(page) < 27:
                return not is_last  # behind the last page, there may be a tag
            is_last, ends_at = bool(page[5] & 4), end
        return ends_at > reader.size
    if head[:4] == b".snd" and len(head) == 12:
        offset, size = struct.unpack(">II", head[4:])
        return size not in _UNKNOWN_SIZES and offset + size > reader.size
    if head[:7] == b"NIST_1A":
        return _is_sphere_truncated(reader)
    if head[:4] not in _LAYOUTS:
        return False
    data_size, n_data, end = None, 0, 0
    for name, start, size in _chunks(reader):
        if name == b"ds64":
            reader.seek(start + 8)
            (data_size,) = struct.unpack("<Q", reader.read(8).ljust(8, b"\0"))
        elif name in _DATA_CHUNKS:
            stated = data_size if data_size is not None and size == 0xFFFFFFFF else size
            if n_data or (
                stated not in (*_UNKNOWN_SIZES, *_UNKNOWN_SIZES_64) and start + stated > reader.size
            ):
                return True
            n_data, end = 1, start + stated
        elif n_data and name in _LAYOUTS and start - 8 in (end, end + end % 2):
            return True  # a file appended to another
    return False


def _is_sphere_truncated(reader: Reader) -> bool:
    header = reader.head(1 << 14)
    fields = dict(re.findall(rb"(\w+) -i (\d{1,15})\s", header.partition(b"end_head")[0]))
    n_head = header[8:16].strip()
    sizes = [int(fields.get(name, b"0")) for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    # Compressed ones (shorten) are smaller than their samples.
    is_plain = b"shorten" not in header and n_head.isdigit()
    return is_plain and int(n_head) + sizes[0] * sizes[1] * sizes[2] > reader.size


def mp3_continues(reader: Reader) -> bool:
    """Whether an MP3 continues after the end that its Xing header states, as joined files do.

    libsndfile reads up to that end.
    """
    head = reader.head(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
        a, b, c, d = head[6:10]
        start = 10 + (a << 21 | b << 14 | c << 7 | d)
    reader.seek(start)
    frame = reader.read(2048)
    tag = max(frame.find(b"Xing"), frame.find(b"Info"))
    if frame[:1] != b"\xff" or not 0 < tag < 256 or not frame[tag + 7] & 2:
        return False
    at = tag + 8 + 4 * (frame[tag + 7] & 1)
    n_bytes = int.from_bytes(frame[at : at + 4], "big")
    return n_bytes > 0 and reader.size - start > 1.01 * n_bytes + _MAX_MP3_TAGS


# --- Ogg ---------------------------------------------------------------------------------------------


def _repair_opus(reader: Reader, head: bytes) -> None:
    """Set the input sample rate of an Opus header to 48 kHz.

    The field is information on the source of the encoder and not the rate of the sound, which Opus decodes
    at 48 kHz (RFC 7845, 5.1); libsndfile decodes at the rate of the field.
    """
    n_segments = head[26]
    body = 27 + n_segments
    reader.seek(0)
    page = bytearray(reader.read(body + sum(head[27 : 27 + n_segments])))
    rate = page.find(b"OpusHead") + 12
    if page[rate : rate + 4] == struct.pack("<I", 48_000) or len(page) < rate + 4:
        return
    page[rate : rate + 4] = struct.pack("<I", 48_000)
    page[22:26] = bytes(4)
    page[22:26] = struct.pack("<I", _ogg_checksum(page))
    reader.patch(0, bytes(page))


def _ogg_checksum(page: bytes | bytearray) -> int:
    """CRC-32 of an Ogg page (polynomial 0x04c11db7, not reflected)."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x104C11DB7) if crc & 0x80000000 else crc << 1
    return crc & 0xFFFFFFFF


def ogg_needs_timestamps(reader: Reader) -> bool:
    """Whether an Ogg file has several chained streams or, in Opus, gaps between its pages.

    libsndfile reads the first stream and ignores granule positions.
    """
    if reader.head(4) != b"OggS":
        return False
    granule, is_opus, n_data, packet_samples = -1, False, 0, 0
    for page, _ in _ogg_pages(reader):
        if len(page) < 27:
            break
        lacing, start = page[27 : 27 + page[26]], page[27 + page[26] :]
        is_first, end = page[5] & 2, struct.unpack("<q", page[6:14])[0]
        if is_first and n_data:
            return True
        if is_first:
            is_opus = start == b"OpusHead"
        elif not is_opus:
            n_data += 1
        elif start[:8] != b"OpusTags" and end > 0:
            n_data += 1
            packet_samples += _opus_samples(start) * sum(length < 255 for length in lacing)
            if granule >= 0 and end - granule - packet_samples > _OGG_GAP_S * 48_000:
                return True
            granule, packet_samples = end, 0
    return False


def _ogg_pages(reader: Reader) -> Iterator[tuple[bytes, int]]:
    """Yield the header of each page with the first bytes of its content, and where the page ends."""
    offset = 0
    while offset < reader.size:
        reader.seek(offset)
        page = reader.read(27)
        if len(page) < 27 or page[:4] != b"OggS":  # damaged; decoders find the next page
            yield page[:26], offset
            return
        lacing = reader.read(page[26])
        body = sum(lacing)
        offset += 27 + page[26] + body
        yield page + lacing + reader.read(min(body, 8)), offset


def _opus_samples(packet: bytes) -> int:
    """Samples at 48 kHz of an Opus packet, by its first two bytes (RFC 6716, 3.1)."""
    if not packet:
        return 0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame = (480, 960, 1920, 2880)[config % 4]
    elif config < 16:
        frame = (480, 960)[config % 2]
    else:
        frame = (120, 240, 480, 960)[config % 4]
    n_frames = 1 if code == 0 else 2 if code < 3 else (packet[1] & 63 if len(packet) > 1 else 1)
    return frame * n_frames
