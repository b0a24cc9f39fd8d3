"""Repair of headers before decoding: tags before the header, sizes that were never filled in, Opus rates.

A repair is a patch of the bytes that decoders see (`Reader.patch`, `Reader.skip`); the file is not changed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

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
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        _repair_wav(reader)
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
    if (offset and head[:4] in (b"RIFF", b"RF64", b"OggS", b"FORM", b"caff", b"\x1aE\xdf\xa3")) or (
        offset and head[4:8] == b"ftyp"
    ):
        reader.skip(offset)
        return
    if not offset and not any(head[:4].startswith(magic) for magic in _KNOWN_STARTS) and head[4:8] != b"ftyp":
        start = reader.head(_MAX_JUNK)
        found = start.find(b"RIFF")
        if found > 0 and start[found + 8 : found + 12] == b"WAVE":
            reader.skip(found)


_KNOWN_STARTS = (b"RIFF", b"RF64", b"RIFX", b"OggS", b"fLaC", b"FORM", b"caff", b"\x1aE\xdf\xa3", b"#!AM")


def _riff_chunks(reader: Reader) -> Iterator[tuple[bytes, int, int]]:
    """Yield id, offset of the content, and size of the chunks of a RIFF file."""
    offset = 12
    while offset + 8 <= reader.size:
        reader.seek(offset)
        head = reader.read(8)
        if len(head) < 8:
            return
        (size,) = struct.unpack("<I", head[4:])
        yield head[:4], offset + 8, size
        offset += 8 + size + size % 2


def _repair_wav(reader: Reader) -> None:
    """Give the data chunk of a WAV that was never finalised the size of the rest of the file."""
    for name, start, size in _riff_chunks(reader):
        if name != b"data":
            continue
        rest = reader.size - start
        is_rf64 = reader.head(4) == b"RF64" and size == 0xFFFFFFFF  # the size is in the ds64 chunk
        if size in _UNKNOWN_SIZES and size != rest and not is_rf64:
            if size == 0 and _ends_in_chunks(reader, start):
                return  # a finalised file without samples
            reader.patch(start - 4, struct.pack("<I", min(rest, 0xFFFFFFFF - 64)))
            reader.patch(4, struct.pack("<I", min(reader.size - 8, 0xFFFFFFFF - 8)))
        return


def _ends_in_chunks(reader: Reader, offset: int) -> bool:
    """Whether the rest of a RIFF file is nothing but chunks, up to its very end."""
    while offset + 8 <= reader.size:
        reader.seek(offset)
        head = reader.read(8)
        if not head[:4].isascii() or not head[:4].decode("ascii").isprintable():
            return False
        offset += 8 + struct.unpack("<I", head[4:])[0]
        offset += offset % 2
    return offset in (reader.size, reader.size + 1)


def is_truncated(reader: Reader) -> bool:
    """Whether a WAV has less data than its header says, or an Ogg file ends within a page."""
    head = reader.head(12)
    if head[:4] == b"OggS":
        *_, (page, end) = _ogg_pages(reader)
        return end > reader.size or len(page) < 27
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return False
    for name, start, size in _riff_chunks(reader):
        if name == b"data":
            return start + size > reader.size
    return False


def mp3_continues(reader: Reader) -> bool:
    """Whether an MP3 goes on after the end that its Xing header states, as joined files do.

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
