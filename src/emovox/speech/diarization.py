"""Who speaks when, in one channel (extra ``diarize``): embeddings of windows of speech, clustered.

::

    encoder = open_speaker_encoder()                              # Resemblyzer, which brings its weights
    turns = diarize("call.wav", encoder, n_speakers=2)

One speaker at a time: where two speak at once, one of them is missed. The method is the common one without a
model of its own (T. J. Park and others, "A review of speaker diarization", Computer Speech & Language 72,
2022): windows of 1.5 s, Ward's hierarchical clustering, then each window to the nearest centroid. Embeddings
are centred on the
recording first, which takes away what its speakers share: line, room and level (benchmarks/diarization.py).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emovox import audio
from emovox._arrays import Doubles, Floats, Ints
from emovox._telemetry import disable_telemetry
from emovox.audio import SAMPLE_RATE, Channels, Source
from emovox.audio.vad import FRAME_S
from emovox.errors import ConfigError, MissingExtraError
from emovox.results import TranscriptSegment
from emovox.speech.chunks import FRAME, SpeechChunk, SpeechChunker

__all__ = ["MAX_SPEAKERS", "SpeakerEncoder", "diarize", "open_speaker_encoder"]

MAX_SPEAKERS = 20

_WINDOW_S, _HOP_S = 1.5, 0.75
"""Of an embedding: shorter windows know less of a speaker, longer ones hold two."""

_GAP_S = 0.5
"""A longer pause ends a turn."""

_MOST_ESTIMATED = 6
"""Clusters before those of one speaker are merged, where the number of speakers is not known."""

_MAX_CLUSTERED = 3000
"""Windows that are clustered hierarchically, which takes the square of their number; the others join the
nearest."""


class SpeakerEncoder(Protocol):
    """A model that computes an embedding of a speaker."""

    @property
    def same_speaker(self) -> float | None:
        """Cosine similarity of two speakers' mean embeddings from which on they are one.

        ``None``: not known, and the number of speakers has to be given.
        """

    def embed(self, sound: Floats) -> NDArray[Any]:
        """Return the embedding ``(d,)`` of speech ``(n,)`` float32 at 16 kHz, 0.03 to 1.5 s."""


class ResemblyzerEncoder:
    """The speaker encoder of Resemblyzer (L. Wan and others, "Generalized end-to-end loss for speaker
    verification", ICASSP 2018); its weights are part of its package.

    Raises:
        MissingExtraError: Resemblyzer, or what it needs, is not installed.
    """

    same_speaker = 0.8
    """Chosen on other speakers than those of the scores (docs/experiments, 2026-11-30)."""

    _LEAST = round(1.6 * SAMPLE_RATE)
    """Samples of its own window."""

    def __init__(self) -> None:
        try:
            import resemblyzer
        except ImportError as error:
            if error.name == "resemblyzer" or importlib.util.find_spec("resemblyzer") is None:
                raise ConfigError(_NO_ENCODER) from None
            raise MissingExtraError(f"Resemblyzer (it requires {error.name})", "train") from error
        self._normalize = resemblyzer.audio.normalize_volume
        self._encoder = resemblyzer.VoiceEncoder("cpu", verbose=False)

    def embed(self, sound: Floats) -> NDArray[Any]:
        """Return the embedding ``(256,)`` of speech ``(n,)``."""
        sound = self._normalize(sound, -30, increase_only=True)
        embedding: NDArray[Any] = self._encoder.embed_utterance(
            np.pad(sound, (0, max(0, self._LEAST - len(sound))))
        )
        return embedding


class SherpaEncoder:
    """A speaker encoder in a file of the project sherpa-onnx, such as those of WeSpeaker and 3D-Speaker.

    Args:
        file: the ``.onnx`` file, with the metadata that sherpa-onnx needs.

    Raises:
        MissingExtraError: the extra ``diarize`` is not installed.
        ConfigError: the file cannot be used.
    """

    same_speaker = None

    def __init__(self, file: Path) -> None:
        try:
            import sherpa_onnx
        except ImportError as error:
            raise MissingExtraError("speaker diarization with a model file", "diarize") from error
        _check_speaker_model(file)
        config = sherpa_onnx.SpeakerEmbeddingExtractorConfig(model=str(file), num_threads=1)
        if not config.validate():
            raise ConfigError(
                f"{str(file)!r} is refused by sherpa-onnx; expected one of its speaker embedding models"
            )
        self._extractor = sherpa_onnx.SpeakerEmbeddingExtractor(config)

    def embed(self, sound: Floats) -> NDArray[Any]:
        """Return the embedding ``(d,)`` of speech ``(n,)``."""
        stream = self._extractor.create_stream()
        stream.accept_waveform(SAMPLE_RATE, np.pad(sound, (0, max(0, SAMPLE_RATE // 2 - len(sound)))))
        stream.input_finished()
        return np.asarray(self._extractor.compute(stream), np.float32)


_NO_ENCODER = (
    "no speaker encoder is installed, and none was named; run  pip install --no-deps resemblyzer  "
    "(weights included, 16 MB), or name the .onnx file of a speaker model of sherpa-onnx with --speaker-model"
)


def open_speaker_encoder(file: str | os.PathLike[str] | None = None) -> SpeakerEncoder:
    """Open a speaker encoder. Nothing is ever downloaded.

    Args:
        file: an ``.onnx`` file for sherpa-onnx; ``None``: Resemblyzer.

    Raises:
        MissingExtraError: the extra ``diarize`` is not installed.
        ConfigError: Resemblyzer is not installed, or the file cannot be used.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise MissingExtraError("speaker diarization", "diarize")
    return ResemblyzerEncoder() if file is None else SherpaEncoder(Path(file))


def _check_speaker_model(file: Path) -> None:
    """Refuse a file that sherpa-onnx would end the process for."""
    if not file.is_file():
        raise ConfigError(f"{str(file)!r}: no such file; expected the .onnx file of a speaker model")
    disable_telemetry()
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # of onnxruntime, which have no base in common
        raise ConfigError(f"{str(file)!r} is no ONNX model: {' '.join(str(error).split())[:200]}") from None
    needed = ("framework", "sample_rate", "output_dim", "normalize_samples", "language")
    metadata = session.get_modelmeta().custom_metadata_map
    if missing := [name for name in needed if name not in metadata]:
        raise ConfigError(
            f"{str(file)!r} has no metadata {', '.join(missing)}; expected a speaker model that was "
            f"exported for "
            "sherpa-onnx"
        )


def diarize(
    source: Source,
    encoder: SpeakerEncoder,
    *,
    sample_rate: int | None = None,
    channels: Channels = "mix",
    n_speakers: int | None = None,
    vad: bool = True,
    progress: Callable[[float], object] | None = None,
) -> list[TranscriptSegment]:
    """Find who speaks when in one channel of a recording.

    Args:
        source, sample_rate: as in `Recognizer.predict`.
        encoder: see `open_speaker_encoder`.
        channels: ``"mix"`` or the number of one, from 0.
        n_speakers: how many speak; ``None``: estimated, which is much less certain.
        vad: whether the voice activity detector decides what is speech.
        progress: is called with the seconds that were read.

    Returns:
        Turns in the order of time, without overlap, of speakers ``speaker 1``, ``speaker 2``, ... in the
        order in which they first speak. Empty where there is no speech.

    Raises:
        AudioError: the sound cannot be read or used.
        ConfigError: ``n_speakers`` is not 1 to `MAX_SPEAKERS`, or not given for an encoder that cannot
            estimate it.
    """
    if channels == "each":
        raise ConfigError(
            "channels is 'each'; expected 'mix' or the number of one: a channel each needs no diarization"
        )
    if n_speakers is None and encoder.same_speaker is None:
        raise ConfigError("this speaker model cannot tell how many speak; give their number (--speakers)")
    if n_speakers is not None and not 1 <= n_speakers <= MAX_SPEAKERS:
        raise ConfigError(f"n_speakers is {n_speakers!r}; expected 1 to {MAX_SPEAKERS}, or None")
    chunker = SpeechChunker(vad=vad)
    windows: list[tuple[float, float]] = []
    rows: list[NDArray[Any]] = []
    speech: list[tuple[int, int]] = []

    def take(chunks: Sequence[SpeechChunk]) -> None:
        for chunk in chunks:
            first = round(chunk.start_s / FRAME_S)
            for start, stop in _runs(chunk.flags):
                speech.append((first + start, first + stop))
                for a, b in _window_samples(start * FRAME, min(stop * FRAME, len(chunk.sound))):
                    rows.append(np.asarray(encoder.embed(chunk.sound[a:b]), np.float32))
                    windows.append((chunk.start_s + a / SAMPLE_RATE, chunk.start_s + b / SAMPLE_RATE))

    for block in audio.blocks(source, sample_rate=sample_rate, channels=channels):
        take(chunker.push(block[0]))
        if progress is not None:
            progress(chunker.n / SAMPLE_RATE)
    take(chunker.flush())
    if not rows:
        return []
    labels = cluster_speakers(np.stack(rows).astype(np.float64), n_speakers, encoder.same_speaker)
    return _make_turns(speech, np.array(windows).mean(axis=1), labels, chunker.n / SAMPLE_RATE)


def cluster_speakers(embeddings: Doubles, n_speakers: int | None, same_speaker: float | None) -> Ints:
    """Group the embeddings of windows by speaker.

    Args:
        embeddings: ``(n, d)`` of windows in the order of time.
        n_speakers: how many groups; ``None``: estimated.
        same_speaker: cosine similarity of mean embeddings from which on two groups are one speaker.

    Returns:
        ``(n,)``: numbers from 0.
    """
    from sklearn.cluster import AgglomerativeClustering

    n = len(embeddings)
    n_groups = min(n_speakers or _MOST_ESTIMATED, n)
    if n_groups < 2:
        return np.zeros(n, np.int64)
    centred = _normalize_rows(embeddings - embeddings.mean(axis=0))
    some = np.linspace(0, n - 1, min(n, _MAX_CLUSTERED)).astype(int)
    groups = AgglomerativeClustering(n_clusters=n_groups).fit_predict(centred[some])
    labels = _assign_to_nearest(centred, some, groups)
    while n_speakers is None and same_speaker is not None and len(names := np.unique(labels)) > 1:
        means = _normalize_rows(
            np.stack([_normalize_rows(embeddings[labels == k]).mean(axis=0) for k in names])
        )
        likeness = means @ means.T
        np.fill_diagonal(likeness, -1.0)
        a, b = np.unravel_index(likeness.argmax(), likeness.shape)
        if likeness[a, b] < same_speaker:
            break
        merged = np.where(labels == names[b], names[a], labels)
        labels = _assign_to_nearest(centred, np.arange(n), merged)
    return labels


def _assign_to_nearest(rows: Doubles, some: Ints, groups: Ints) -> Ints:
    """Give every row to the group with the nearest centroid, until that changes none of them.

    Args:
        rows: ``(n, d)`` of length 1.
        some, groups: the rows, by number, that have a group, and the groups.
    """
    labels = np.full(len(rows), -1)
    labels[some] = groups
    for _ in range(10):
        names = np.unique(labels[labels >= 0])
        centroids = _normalize_rows(np.stack([rows[labels == k].mean(axis=0) for k in names]))
        nearest = names[(rows @ centroids.T).argmax(axis=1)]
        if np.array_equal(nearest, labels):
            break
        labels = nearest
    return labels


def _normalize_rows(rows: Doubles) -> Doubles:
    normalized: Doubles = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    return normalized


def _window_samples(start: int, stop: int) -> list[tuple[int, int]]:
    """Windows of a stretch of speech; the last one ends with it."""
    window, hop = round(_WINDOW_S * SAMPLE_RATE), round(_HOP_S * SAMPLE_RATE)
    if stop - start <= window:
        return [(start, stop)] if stop > start else []
    starts = [*range(start, stop - window, hop), stop - window]
    return [(a, a + window) for a in starts]


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _make_turns(
    speech: Sequence[tuple[int, int]], centres: Doubles, labels: Ints, duration_s: float
) -> list[TranscriptSegment]:
    """Turns of stretches of speech (in frames): each frame has the speaker of the nearest window."""
    pieces: list[tuple[float, float, int]] = []
    for first, stop in speech:
        times = (np.arange(first, stop) + 0.5) * FRAME_S
        after = np.clip(np.searchsorted(centres, times), 1, len(centres) - 1) if len(centres) > 1 else None
        if after is None:
            owners = np.zeros(len(times), np.int64)
        else:
            owners = np.where(times - centres[after - 1] <= centres[after] - times, after - 1, after)
        own = labels[owners]
        edges = [0, *(np.flatnonzero(np.diff(own)) + 1).tolist(), len(own)]
        spans = [((first + a) * FRAME_S, (first + b) * FRAME_S, int(own[a])) for a, b in pairwise(edges)]
        for start_s, end_s, label in _absorb_short(spans):
            if pieces and pieces[-1][2] == label and start_s - pieces[-1][1] <= _GAP_S:
                pieces[-1] = (pieces[-1][0], end_s, label)
            else:
                pieces.append((start_s, end_s, label))
    names: dict[int, str] = {}
    for _, _, label in pieces:
        names.setdefault(label, f"speaker {len(names) + 1}")
    return [
        TranscriptSegment(start_s, min(end_s, duration_s), speaker=names[label])
        for start_s, end_s, label in pieces
    ]


def _absorb_short(spans: Sequence[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """Give spans of uninterrupted speech that are shorter than a hop to their longer neighbour."""
    kept = list(spans)
    while len(kept) > 1:
        lengths = [end_s - start_s for start_s, end_s, _ in kept]
        i = lengths.index(min(lengths))
        if lengths[i] >= _HOP_S:
            break
        k = max((k for k in (i - 1, i + 1) if 0 <= k < len(kept)), key=lengths.__getitem__)
        merged = (kept[min(i, k)][0], kept[max(i, k)][1], kept[k][2])
        kept[min(i, k) : max(i, k) + 1] = [merged]
    return kept
