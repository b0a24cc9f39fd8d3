"""Speech recognition: the words of a recording and their times, by faster-whisper (extra ``asr``).

::

    recognizer = open_recognizer("models/faster-whisper-base")      # a folder, or a name such as "base"
    for result in predict_transcript(emovox.load(), "call.mp3", recognizer):
        print(result.segment.text, result.prediction.label)

The voice activity detector of emovox decides what is speech: Whisper is given chunks of speech, and its words
outside of speech are dropped, since it writes sentences to silence and noise (A. Koenecke and others,
"Careless Whisper: Speech-to-Text Hallucination Harms", FAccT 2024).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from emovox import audio
from emovox._arrays import Floats
from emovox._telemetry import disable_telemetry
from emovox.audio import Channels, Source
from emovox.errors import ConfigError, DownloadError, MissingExtraError, did_you_mean
from emovox.inference.options import PredictOptions
from emovox.results import SegmentPrediction, TranscriptSegment, Word
from emovox.speech.chunks import SpeechChunk, SpeechChunker
from emovox.speech.sentences import split_sentences

if TYPE_CHECKING:
    from emovox.inference.recognizer import Recognizer

__all__ = [
    "RecognizedWords",
    "SpeechRecognizer",
    "TranscriptPart",
    "WhisperRecognizer",
    "open_recognizer",
    "predict_transcript",
    "transcribe",
]

DEFAULT = "base"
"""The model that is used where the user names none; it is then never downloaded."""

_FILES = ("model.bin", "config.json", "tokenizer.json")
"""Without ``tokenizer.json`` faster-whisper would fetch one from the network."""

_SURE = 0.7
"""A language that is detected with this probability is kept for the rest of the recording."""


@dataclass(frozen=True, slots=True)
class RecognizedWords:
    """What a speech recogniser says about a chunk of sound."""

    words: tuple[Word, ...]
    """In the order of time, in seconds from the start of the chunk; texts begin with a space where one
    belongs."""
    language: str | None = None
    """Two letters, such as ``en``."""
    language_probability: float | None = None


class SpeechRecognizer(Protocol):
    """A speech recogniser. One that is not Whisper needs this method only."""

    def recognize(self, sound: Floats, language: str | None) -> RecognizedWords:
        """Return the words of sound ``(n,)`` float32 at 16 kHz, up to 30 s; ``None``: detect the language."""


@dataclass(frozen=True, slots=True, eq=False)
class TranscriptPart:
    """The sentences of one chunk of a recording."""

    chunk: SpeechChunk
    segments: tuple[TranscriptSegment, ...]
    """With times from the start of the recording."""
    language: str | None
    language_probability: float | None


class WhisperRecognizer:
    """A Whisper model of faster-whisper.

    Args:
        folder: with the model's files.
        threads: for the computation; 0: as many as CTranslate2 chooses.

    Raises:
        MissingExtraError: the extra ``asr`` is not installed.
        ConfigError: the folder holds no such model.
    """

    def __init__(self, folder: str | os.PathLike[str], *, threads: int = 0) -> None:
        folder = Path(folder)
        if missing := [name for name in _FILES if not (folder / name).is_file()]:
            raise ConfigError(
                f"{str(folder)!r} has no {' and no '.join(missing)}; expected the folder of a Whisper "
                f"model for "
                "faster-whisper, with model.bin, config.json, tokenizer.json and the vocabulary"
            )
        disable_telemetry()
        faster_whisper = _import_faster_whisper()
        try:
            self._model = faster_whisper.WhisperModel(
                str(folder), device="auto", compute_type="auto", cpu_threads=threads, local_files_only=True
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise ConfigError(f"{str(folder)!r} cannot be opened as a Whisper model: {error}") from error

    def recognize(self, sound: Floats, language: str | None) -> RecognizedWords:
        """Return the words of sound ``(n,)`` float32 at 16 kHz.

        Raises:
            ConfigError: the model does not know the language.
        """
        try:
            segments, info = self._model.transcribe(
                sound,
                language=language,
                word_timestamps=True,
                condition_on_previous_text=False,  # or one loop of repeated words would last to the end
                # Its further attempts sample words: six times the work, and another text for the same sound.
                temperature=0.0,
                vad_filter=False,
            )
            words = tuple(
                Word(float(word.start), float(word.end), word.word, float(word.probability))
                for segment in segments
                for word in segment.words or ()
            )
        except ValueError as error:
            raise ConfigError(
                f"the speech recogniser refuses: {' '.join(str(error).split())[:300]}"
            ) from error
        return RecognizedWords(words, info.language, float(info.language_probability))


def open_recognizer(name: str | os.PathLike[str] | None = None, *, threads: int = 0) -> WhisperRecognizer:
    """Open a Whisper model.

    Args:
        name: a folder, one of faster-whisper's names (``base``, ``small``, ``large-v3``, ...), or
            ``owner/name`` on the Hugging Face Hub. A model that is named and is not on this machine is
            downloaded into Hugging Face's cache. ``None``: the model ``base`` if it is there; nothing is
            downloaded.
        threads: for the computation; 0: as many as CTranslate2 chooses.

    Raises:
        MissingExtraError: the extra ``asr`` is not installed.
        ConfigError: there is no such model.
        DownloadError: it is not on this machine and cannot be downloaded, or may not be.
    """
    if name is not None and Path(name).is_dir():
        return WhisperRecognizer(name, threads=threads)
    return WhisperRecognizer(
        _fetch(DEFAULT if name is None else os.fspath(name), may_download=name is not None)
    )


def _fetch(name: str, *, may_download: bool) -> str:
    """Return the folder of a named model in Hugging Face's cache."""
    faster_whisper = _import_faster_whisper()
    known = faster_whisper.available_models()
    if "/" not in name and name not in known:
        raise ConfigError(f"{name!r} is neither a folder nor a Whisper model; {did_you_mean(name, known)}")
    if name.count("/") > 1 or name.startswith(("/", ".")):
        raise ConfigError(
            f"{name!r}: no such folder; expected the folder of a Whisper model, or a name such as 'base'"
        )
    from emovox.bundles.hub import is_offline

    try:
        return str(faster_whisper.download_model(name, local_files_only=True))
    except Exception:  # of huggingface_hub, whose errors have no base in common: it is not in the cache
        if not may_download:
            raise DownloadError(
                f"no speech recogniser was named and the model {name!r} is not on this machine; name a "
                f"folder with "
                f"--asr FOLDER, or download it once (145 MB) with --asr {name}"
            ) from None
        if is_offline():
            raise DownloadError(
                f"the Whisper model {name!r} is not on this machine, and EMOVOX_OFFLINE or HF_HUB_OFFLINE "
                f"is set; "
                "download it once without, or name its folder"
            ) from None
    try:
        return str(faster_whisper.download_model(name, use_auth_token=os.environ.get("HF_TOKEN") or False))
    except Exception as error:
        raise DownloadError(
            f"the Whisper model {name!r} is not on this machine and cannot be downloaded from the Hugging "
            f"Face Hub "
            f"({type(error).__name__}); connect to the network once, or name the folder of a model"
        ) from None


def _import_faster_whisper() -> Any:
    try:
        import faster_whisper
    except ImportError as error:
        raise MissingExtraError("speech recognition", "asr") from error
    return faster_whisper


def transcribe(
    source: Source,
    recognizer: SpeechRecognizer,
    *,
    sample_rate: int | None = None,
    channels: Channels = "mix",
    language: str | None = None,
    vad: bool = True,
    turns: Sequence[TranscriptSegment] | None = None,
    report: audio.ReadReport | None = None,
    progress: Callable[[float], object] | None = None,
) -> Iterator[TranscriptPart]:
    """Recognise the sentences of a recording, chunk by chunk; memory does not grow with its length.

    Args:
        source, sample_rate: as in `Recognizer.predict`.
        recognizer: see `open_recognizer`.
        channels: ``"mix"`` or the number of one, from 0.
        language: such as ``en``; ``None``: detected in the first chunks.
        vad: whether the voice activity detector decides what is speech.
        turns: who speaks when, such as from `emovox.speech.diarization.diarize`: sentences end where the
            speaker changes, and name the speaker.
        report: is filled while reading.
        progress: is called with the seconds that were read.

    Raises:
        AudioError: while iterating, the sound cannot be read or used.
        ConfigError: the language is unknown.
    """
    if channels == "each":
        raise ConfigError(
            "channels is 'each'; expected 'mix' or the number of one: transcribe each on its own"
        )
    chunker = SpeechChunker(vad=vad)
    blocks = audio.blocks(source, sample_rate=sample_rate, channels=channels, report=report)
    probability = None if language is None else 1.0
    for chunk in _chunks(blocks, chunker, progress):
        found = recognizer.recognize(chunk.sound, language)
        if language is None and (found.language_probability or 0.0) >= _SURE:
            language, probability = found.language, found.language_probability
        words = _place_words(chunk, found.words)
        near = [
            one for one in turns or () if one.start_s < chunk.end_s and chunk.start_s < one.end_s
        ] or turns
        speakers = None if near is None else [_find_speaker(word, near) for word in words]
        yield TranscriptPart(
            chunk,
            tuple(split_sentences(words, speakers)),
            language or found.language,
            probability or found.language_probability,
        )


def predict_transcript(
    model: Recognizer,
    source: Source,
    recognizer: SpeechRecognizer,
    *,
    options: PredictOptions | None = None,
    sample_rate: int | None = None,
    language: str | None = None,
    turns: Sequence[TranscriptSegment] | None = None,
    report: audio.ReadReport | None = None,
    progress: Callable[[float], object] | None = None,
) -> Iterator[SegmentPrediction]:
    """Recognise the sentences of a recording and predict the emotion expressed in each.

    A sentence is predicted as its sound alone would be, as soon as its chunk is transcribed; with
    ``options.adapt`` after all of them are, adapted to each speaker.

    Args:
        model: predicts the emotions.
        options: as in `Recognizer.predict_segments`; ``segments`` are ignored.
        source, recognizer, sample_rate, language, turns, report, progress: as in `transcribe`.

    Raises:
        EmovoxError: as `transcribe` and `Recognizer.predict_segments`.
    """
    options = PredictOptions() if options is None else options
    if options.adapt and not audio.can_reread(source):
        raise ConfigError("adapt reads the recording twice, and this source can be read once: save it")
    arguments: dict[str, Any] = {"labels": options.labels, "vad": options.vad, "profile": options.profile}
    parts = transcribe(
        source,
        recognizer,
        sample_rate=sample_rate,
        channels=options.channels,
        language=language,
        vad=options.vad != "off",
        turns=turns,
        report=report,
        progress=progress,
    )
    if options.adapt:
        found = [segment for part in parts for segment in part.segments]
        yield from model.predict_segments(
            source, found, sample_rate=sample_rate, channels=options.channels, adapt=True, **arguments
        )
        return
    file = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
    channel = audio.channel_numbers(options.channels, 1)[0]
    for part in parts:
        start_s = part.chunk.start_s
        inside = [
            replace(one, start_s=one.start_s - start_s, end_s=one.end_s - start_s) for one in part.segments
        ]
        results = model.predict_segments(part.chunk.sound, inside, sample_rate=audio.SAMPLE_RATE, **arguments)
        for segment, result in zip(part.segments, results, strict=True):
            yield SegmentPrediction(segment, replace(result.prediction, file=file, channel=channel))


def _chunks(
    blocks: Iterator[Floats], chunker: SpeechChunker, progress: Callable[[float], object] | None
) -> Iterator[SpeechChunk]:
    for block in blocks:
        yield from chunker.push(block[0])
        if progress is not None:
            progress(chunker.n / audio.SAMPLE_RATE)
    yield from chunker.flush()


def _place_words(chunk: SpeechChunk, words: Sequence[Word]) -> list[Word]:
    """Return the words that are in speech, with times of the recording and in their order."""
    placed = []
    least_s = 0.0
    for word in words:
        start_s = min(max(word.start_s, least_s), chunk.duration_s)
        end_s = min(max(word.end_s, start_s), chunk.duration_s)  # Whisper names times after the end
        if end_s > start_s and word.text.strip() and chunk.has_speech(start_s, end_s):
            placed.append(replace(word, start_s=chunk.start_s + start_s, end_s=chunk.start_s + end_s))
            least_s = start_s
    return placed


def _find_speaker(word: Word, turns: Sequence[TranscriptSegment]) -> str | None:
    """The speaker whose turns overlap most with the second half of the word, else of the nearest turn.

    The first half may be the pause before the word, which Whisper counts to it.
    """
    middle_s = (word.start_s + word.end_s) / 2
    best = max(
        turns, key=lambda turn: min(turn.end_s, word.end_s) - max(turn.start_s, middle_s), default=None
    )
    return None if best is None else best.speaker
