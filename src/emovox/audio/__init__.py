"""Read sound from any source as float32 in [-1, 1] at 16 kHz.

A *source* is a path, the bytes of a file, a binary file object, or a numpy array with its sample rate. The
format of a file is decided by its content, never by its name::

    read(source)                   the whole recording: (n,), or (c, n) with channels="each"
    blocks(source)                 the same samples in blocks, in bounded memory
    span_blocks(source, 1.0, 2.5)  a span of a recording, mono
    probe(source)                  duration, rate, channels and format, without decoding all of it
    validate(x, sample_rate)       check an array, and convert it to float32
    Resampler(rate_in)             sound that arrives in chunks; chunked = whole to the last sample
    LevelMeter, measure_quality    how loud, how clipped, and what to warn about

wav, flac, mp3, ogg (vorbis, opus), aiff, au and caf are read by libsndfile; m4a, aac, webm, mp4, amr and
other video by PyAV, the extra ``media``. A recording that breaks off is given up to the break.
"""

from __future__ import annotations

from emovox.audio.io import (
    AUDIO_SUFFIXES,
    Channels,
    Info,
    ReadReport,
    blocks,
    channel_numbers,
    parse_channels,
    probe,
    read,
    span_blocks,
)
from emovox.audio.level import LevelMeter, is_silent, measure_quality
from emovox.audio.mixing import ChannelMixer
from emovox.audio.resampling import Resampler
from emovox.audio.source import Source, can_reread
from emovox.audio.validation import MAX_CHANNELS, MAX_PEAK, MAX_RATE, MIN_RATE, SAMPLE_RATE, validate

__all__ = [
    "AUDIO_SUFFIXES",
    "MAX_CHANNELS",
    "MAX_PEAK",
    "MAX_RATE",
    "MIN_RATE",
    "SAMPLE_RATE",
    "ChannelMixer",
    "Channels",
    "Info",
    "LevelMeter",
    "ReadReport",
    "Resampler",
    "Source",
    "blocks",
    "can_reread",
    "channel_numbers",
    "is_silent",
    "measure_quality",
    "parse_channels",
    "probe",
    "read",
    "span_blocks",
    "validate",
]
