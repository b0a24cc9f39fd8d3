"""The recognizer: files, arrays, long recordings and live streams -> expressed emotions.

All of them go the same way: sound -> windows (or a whole clip) -> the bundle's logits -> probabilities. A
timeline is a stream that is fed with a file, so the two agree to the last bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emovox import audio
from emovox._arrays import Doubles, Floats
from emovox.audio import SAMPLE_RATE, Channels, Source
from emovox.bundles import Bundle, Spec, load_bundle
from emovox.bundles.registry import DEFAULT, find
from emovox.errors import AudioValueError, BundleCorruptError, ConfigError, ProfileError
from emovox.inference.adaptation import Profile
from emovox.inference.clip import ClipPredictor, ProfileBuilder, RecordingReader
from emovox.inference.options import PredictOptions, VadMode
from emovox.inference.scorer import Scorer
from emovox.inference.stream import BLOCK_S, Stream, TimelineStep
from emovox.results import Explanation, Prediction, Result, Segment, SegmentPrediction, TranscriptSegment

if TYPE_CHECKING:
    from emovox._parallel import Outcome

__all__ = ["Recognizer", "load"]


def load(
    name: str | os.PathLike[str] = DEFAULT,
    *,
    threads: int = 1,
    vad: VadMode = "on",
    max_s: float | None = None,
) -> Recognizer:
    """Open a model by its name, by the path of a bundle's folder, or by that of a run that holds one.

    ``hf://owner/name`` or ``hf://owner/name@revision`` is one on the Hugging Face Hub (see
    `emovox.bundles.hub`). A name has precedence over a folder of the same name in the working directory;
    write ``./default`` for the folder.

    Args:
        name: one of `emovox.models`, a path, or ``hf://owner/name``.
        threads: threads that one prediction may use; 1 is best for small nets and for many files.
        vad: whether a voice activity detector looks for speech, unless a call says otherwise.
        max_s: seconds that a recording may last; ``None``: no limit.

    Raises:
        BundleNotFoundError: neither a known name nor a folder; the message names what exists.
        BundleError: the bundle is damaged, or newer than this emovox.
        DownloadError, MissingExtraError: a model on the Hub cannot be fetched; the extra ``hub`` is missing.
        ConfigError: ``threads`` is not a positive whole number, ``vad`` neither "on" nor "off",
            or ``max_s`` not above 0.
    """
    return Recognizer(load_bundle(find(name), threads=threads), vad=vad, max_s=max_s)


class Recognizer:
    """A model that is ready to predict. Immutable: share it between threads.

    Args:
        bundle: an opened model (see `emovox.load`).
        vad: whether a voice activity detector looks for speech. When it is off, all sound counts as speech.
        max_s: seconds that a recording may last; a longer one is an AudioTooLongError, and is not
            decoded further. ``None``: no limit. Live streams have none.

    Raises:
        ConfigError: ``vad`` is neither "on" nor "off", or ``max_s`` not above 0.
    """

    def __init__(self, bundle: Bundle, *, vad: VadMode = "on", max_s: float | None = None) -> None:
        if max_s is not None and not max_s > 0:
            raise ConfigError(f"max_s is {max_s!r}; expected seconds, more than 0, or None")
        if vad not in ("on", "off"):
            raise ConfigError(f"vad is {vad!r}; expected 'on' or 'off'")
        self._bundle = bundle
        self._vad = vad
        self._max_s = max_s

    @property
    def spec(self) -> Spec:
        """All that is known about the model."""
        return self._bundle.spec

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions it can predict, in the order of its scores; none in a model of values alone."""
        return self.spec.labels

    @property
    def targets(self) -> tuple[str, ...]:
        """What it predicts values of, such as ``arousal``; empty in most models."""
        return self.spec.target_names

    @property
    def name(self) -> str:
        """The model's name."""
        return self.spec.name

    @property
    def vad(self) -> VadMode:
        """Whether a voice activity detector looks for speech, unless a call says otherwise."""
        return self._vad

    @property
    def can_adapt(self) -> bool:
        """Whether the model adapts to a speaker or source: see `enroll`."""
        return self._bundle.normalizer is not None or self.spec.adaptation is not None

    def __repr__(self) -> str:
        return f"Recognizer({self.name!r}, version={self.spec.version!r}, labels={self.labels})"

    def __reduce__(self) -> tuple[Callable[..., Recognizer], tuple[Any, ...]]:
        """Another process opens the same bundle again."""
        bundle = self._bundle
        if bundle.path is None:
            raise TypeError("a Recognizer whose bundle was not loaded from a folder cannot be pickled")
        path = str(bundle.path.absolute())
        return _reopen, (path, self.spec.sha256, bundle.threads, self._vad, self._max_s)

    # ------------------------------------------------------------------------------ whole recordings

    def predict(
        self,
        source: Source,
        *,
        sample_rate: int | None = None,
        labels: Iterable[str] | str | None = None,
        channels: Channels = "mix",
        vad: VadMode | None = None,
        profile: Profile | None = None,
    ) -> Prediction:
        """Predict the expressed emotion of one recording.

        A recording of up to ``spec.clip_s`` is predicted in one run; a longer one by windows side by side,
        whose probabilities are averaged over its speech (unsmoothed). Memory does not grow with its length.

        It abstains (``label`` is ``None``) for one of these reasons, the first that holds:

        - ``silence``, ``too_short`` (than ``spec.min_s``): there is nothing to predict; no scores.
        - ``no_speech``: neither the voice activity detector nor the model found any. The scores of a clip are
          returned all the same, for a detector may be wrong (whispers); a long recording has none.
        - ``uncertain``: the confidence is below ``spec.abstain.confidence``; with scores.

        Args:
            source: a path, the bytes of a file, a binary file object, or an array with its ``sample_rate``.
            sample_rate: Hz, for an array.
            labels: only these (names or aliases); the scores are renormalised over them.
            channels: ``"mix"`` or the number of one, from 0; for each on its own see `predict_channels`.
            vad: ``"on"`` or ``"off"``, instead of the recognizer's own setting.
            profile: statistics of the speaker or source, as `enroll` returns them.

        Raises:
            AudioError: the sound cannot be read or used.
            LabelError: a label is unknown, or the model cannot answer it.
            ProfileError: the model cannot use the profile.
            ConfigError: another argument is wrong.

        >>> import emovox
        >>> emovox.load().predict("clip.wav", labels="angry,happy,neutral,sad").label  # doctest: +SKIP
        'happy'
        """
        if channels == "each":
            raise AudioValueError("predict returns one prediction; for one per channel use predict_channels")
        options = PredictOptions(labels=labels, channels=channels, vad=vad, profile=profile)
        return self._predict(source, options, sample_rate)[0]

    def predict_channels(
        self,
        source: Source,
        *,
        sample_rate: int | None = None,
        labels: Iterable[str] | str | None = None,
        vad: VadMode | None = None,
        profile: Profile | None = None,
    ) -> list[Prediction]:
        """Predict each channel of a recording: a two-channel call has one speaker on each side.

        Arguments and errors are those of `predict`. The predictions are in the order of the channels.
        """
        options = PredictOptions(labels=labels, channels="each", vad=vad, profile=profile)
        return self._predict(source, options, sample_rate)

    def predict_many(
        self,
        sources: Iterable[Source],
        *,
        workers: int = 1,
        labels: Iterable[str] | str | None = None,
        channels: Channels = "mix",
        vad: VadMode | None = None,
        profile: Profile | None = None,
    ) -> Iterator[Prediction]:
        """Predict many recordings; the predictions come in input order, as soon as they are known.

        A recording that fails, or that crashes its process, is a `Prediction` with ``error``.

        Args:
            sources: mostly paths; read only a little ahead.
            workers: processes. The predictions are the same for any number of them.
            labels, channels, vad, profile: as in `predict`; ``channels="each"`` gives one prediction per
                channel.

        Raises:
            LabelError, ConfigError, ProfileError: at once, a wrong argument.
            EmovoxError: while iterating, a worker process could not start.
        """
        from emovox import _parallel  # most calls predict one recording, and need no processes

        if isinstance(sources, (str, bytes, os.PathLike)):
            raise ConfigError(
                f"sources is one {type(sources).__name__}; expected several: use predict for one"
            )
        options = PredictOptions(labels=labels, channels=channels, vad=vad, profile=profile)
        work = partial(self._predict, options=self.check(options), sample_rate=None)
        return _flatten(_parallel.map_items(partial(_identity, work), sources, workers=workers))

    def results(
        self,
        source: Source,
        options: PredictOptions,
        *,
        sample_rate: int | None = None,
        report: audio.ReadReport | None = None,
    ) -> Iterator[tuple[Result, float]]:
        """The rows of one recording, each with the share of the recording that is done then, 0 to 1.

        They are predictions, one per channel, or with ``options.timeline`` segments; a channel of a timeline
        without speech has a prediction with the reason. With ``options.segments`` they are theirs.

        Args:
            source, sample_rate: as in `predict`.
            options: as in `predict` and `timeline`.
            report: is filled while a timeline or segments are read; other predictions have their warnings in
                ``quality``.

        Raises:
            EmovoxError: while iterating, as `predict` and `timeline`.
        """
        if options.segments is not None:
            found = self._predict_segments(source, options, sample_rate, report)
            for n, one in enumerate(found, 1):
                yield one, n / len(options.segments)
            return
        if not options.timeline:
            for prediction in self._predict(source, options, sample_rate):
                yield prediction, 1.0
            return
        claimed_s = None
        if audio.can_reread(source):  # a pipe is read once
            claimed_s = audio.probe(source, sample_rate=sample_rate).duration_s
        step, with_speech = None, set()
        for step in self.timeline_steps(source, options, sample_rate=sample_rate, report=report):
            for channel, result in step.results:
                if isinstance(result, Segment):
                    with_speech.add(channel)
                    yield result, min(result.end_s / claimed_s, 1.0) if claimed_s else 0.0
        for channel in () if step is None else step.channels:
            if step is not None and channel not in with_speech:
                yield Prediction(None, reason="no_speech", duration_s=step.duration_s, channel=channel), 1.0

    def check(self, options: PredictOptions) -> PredictOptions:
        """Return the options with the labels spelt out, if the model can meet them.

        Raises:
            LabelError, ConfigError, ProfileError: it cannot.
        """
        # A stream takes every option, so opening one finds whatever is wrong.
        return replace(options, labels=self.open_stream(options).labels)

    def _predict(self, source: Source, options: PredictOptions, sample_rate: int | None) -> list[Prediction]:
        scorer, vad = self._make_scorer(options), self._is_vad_on(options)
        predictors: list[ClipPredictor] = []
        report = audio.ReadReport()
        for block in self._blocks(source, sample_rate, options.channels, report=report):
            if not predictors:
                predictors = [ClipPredictor(scorer, vad=vad) for _ in block]
            for predictor, x in zip(predictors, block, strict=True):
                predictor.push(x)
        numbers = audio.channel_numbers(options.channels, len(predictors))
        return [
            predictor.finish(file=_path_of(source), channel=channel, read_warnings=report.warnings)
            for predictor, channel in zip(predictors, numbers, strict=True)
        ]

    # ------------------------------------------------------------------------------ segments

    def predict_segments(
        self,
        source: Source,
        segments: Iterable[TranscriptSegment],
        *,
        sample_rate: int | None = None,
        labels: Iterable[str] | str | None = None,
        channels: Channels = "mix",
        vad: VadMode | None = None,
        profile: Profile | None = None,
        adapt: bool = False,
    ) -> Iterator[SegmentPrediction]:
        """Predict segments of a recording, such as those of `emovox.transcripts.reading.read_transcript`.

        Each is predicted as its sound alone would be. The recording is read once (twice with ``adapt``), and
        memory does not grow with its length. The predictions are in the order of the segments. A part of a
        segment that is outside of the recording is left out, with the warning ``outside``; a segment without
        any sound is a prediction with ``error``.

        Args:
            source, sample_rate, labels, vad, profile: as in `predict`.
            segments: in any order; they may overlap.
            channels: ``"mix"`` or the number of one, from 0.
            adapt: whether the model adapts to each speaker, beginning with ``profile``, from all of the
                speaker's segments. Those without a speaker are of one.

        Raises:
            LabelError, ConfigError, ProfileError: at once, a wrong argument.
            AudioError: while iterating, the sound cannot be read or used.
        """
        options = PredictOptions(
            labels=labels, channels=channels, vad=vad, profile=profile, adapt=adapt, segments=tuple(segments)
        )
        return self._predict_segments(source, self.check(options), sample_rate)

    def _predict_segments(
        self,
        source: Source,
        options: PredictOptions,
        sample_rate: int | None,
        report: audio.ReadReport | None = None,
    ) -> Iterator[SegmentPrediction]:
        from emovox.inference.transcripts import adapt_to_speakers, predict_segments

        def read() -> Iterator[Floats]:
            return (block[0] for block in self._blocks(source, sample_rate, options.channels, report=report))

        segments, vad, scorer = options.segments or (), self._is_vad_on(options), self._make_scorer(options)
        scorers: dict[str | None, Scorer] = {}
        if options.adapt:
            if not audio.can_reread(source):
                raise ConfigError(
                    "adapt reads the recording twice, and this source can be read once: save it"
                )
            plain = self._make_scorer(replace(options, profile=None))
            scorers = adapt_to_speakers(segments, read(), scorer, plain, vad=vad)
        yield from predict_segments(
            segments,
            read(),
            lambda segment: scorers.get(segment.speaker, scorer),
            clip_s=self.spec.clip_s,
            vad=vad,
            file=_path_of(source),
            channel=audio.channel_numbers(options.channels, 1)[0],
        )

    # ------------------------------------------------------------------------------ explanation

    def explain(
        self,
        source: Source,
        label: str | None = None,
        *,
        sample_rate: int | None = None,
        start_s: float = 0.0,
        end_s: float | None = None,
        channels: Channels = "mix",
        vad: VadMode | None = None,
        profile: Profile | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Explanation:
        """Find which seconds and which frequency bands of a recording decided for a label.

        Parts of the sound are removed one by one, and the drop of the label's log-odds is measured:
        occlusion, after Zeiler and Fergus (2014). The model is run up to 185 times for a clip, each time on
        the spans of the recording that `predict` scores.

        Args:
            source, sample_rate, vad, profile: as in `predict`.
            label: name or alias; the likeliest label unless given.
            start_s, end_s: explain this part of the recording, as if it were all of it.
            channels: ``"mix"`` or the number of one, from 0.
            progress: called with (runs done, runs in all).

        Raises:
            AudioTooLongError: it lasts longer than 30 s.
            AudioError: the sound cannot be read or used, or is silence, or shorter than ``spec.min_s``.
            LabelError: the label is unknown, or the only one of the model.
            ConfigError, ProfileError: another argument is wrong.
        """
        from emovox.inference.explanation import explain_clip, read_part

        if channels == "each":
            raise AudioValueError(
                "explain returns one explanation; name one channel by its number, or the mix"
            )
        options = PredictOptions(channels=channels, vad=vad, profile=profile)
        blocks = (block[0] for block in self._blocks(source, sample_rate, channels))
        return explain_clip(
            self._make_scorer(options),
            read_part(blocks, start_s, end_s),
            label,
            vad=self._is_vad_on(options),
            start_s=start_s,
            file=_path_of(source),
            channel=audio.channel_numbers(options.channels, 1)[0],
            progress=progress,
        )

    # ------------------------------------------------------------------------------ over time

    def timeline(
        self,
        source: Source,
        *,
        sample_rate: int | None = None,
        window_s: float | None = None,
        hop_s: float | None = None,
        labels: Iterable[str] | str | None = None,
        channels: Channels = "mix",
        vad: VadMode | None = None,
        profile: Profile | None = None,
        adapt: bool = False,
    ) -> Iterator[Segment]:
        """Predict the segments of a recording: speech only, smoothed, merged; returned while it is read.

        Args:
            source, sample_rate, labels, vad, profile: as in `predict`.
            window_s: seconds of a window; ``spec.window_s`` unless given.
            hop_s: seconds from one window to the next; ``spec.hop_s`` unless given.
            channels: ``"mix"``, the number of one, or ``"each"``: then segments of all channels come as they
                become final, and each names its ``channel``.
            adapt: whether the model adapts to each channel as it goes, beginning with ``profile``. The scores
                of a window depend on what came before it, never on what comes.

        Raises:
            LabelError, ConfigError, ProfileError: at once, a wrong argument.
            AudioError: while iterating, the sound cannot be read or used.
        """
        options = PredictOptions(
            labels=labels,
            channels=channels,
            vad=vad,
            profile=profile,
            timeline=True,
            window_s=window_s,
            hop_s=hop_s,
            adapt=adapt,
        )
        steps = self.timeline_steps(source, self.check(options), sample_rate=sample_rate)
        return (result for step in steps for _, result in step.results if isinstance(result, Segment))

    def timeline_steps(
        self,
        source: Source,
        options: PredictOptions | None = None,
        *,
        sample_rate: int | None = None,
        max_s: float | None = None,
        report: audio.ReadReport | None = None,
    ) -> Iterator[TimelineStep]:
        """Windows and segments of each channel, block by block; the last step is what the end adds.

        Args:
            source, sample_rate: as in `predict`.
            options: as in `timeline`.
            max_s: seconds that the recording may last, instead of the recognizer's own limit.
            report: is filled while reading.

        Raises:
            EmovoxError: while iterating, as `timeline`.
        """
        options = PredictOptions() if options is None else options
        streams: list[Stream] = []
        numbers: tuple[int | None, ...] = ()
        n = 0
        for block in self._blocks(source, sample_rate, options.channels, max_s, report):
            if not streams:  # only now the number of channels is known
                numbers = audio.channel_numbers(options.channels, len(block))
                file = _path_of(source)
                streams = [self.open_stream(options, file=file, channel=number) for number in numbers]
            n += block.shape[1]
            found = [stream.push(x) for stream, x in zip(streams, block, strict=True)]
            yield _make_step(numbers, found, n)
        yield _make_step(numbers, [stream.flush() for stream in streams], n)

    def stream(
        self,
        *,
        sample_rate: int,
        window_s: float | None = None,
        hop_s: float | None = None,
        labels: Iterable[str] | str | None = None,
        vad: VadMode | None = None,
        profile: Profile | None = None,
        adapt: bool = False,
    ) -> Stream:
        """Open a live stream of sound at ``sample_rate`` Hz; the other arguments are those of `timeline`."""
        options = PredictOptions(
            labels=labels, vad=vad, profile=profile, window_s=window_s, hop_s=hop_s, adapt=adapt
        )
        return self.open_stream(options, sample_rate=sample_rate)

    def open_stream(
        self,
        options: PredictOptions,
        *,
        sample_rate: int = SAMPLE_RATE,
        file: str | None = None,
        channel: int | None = None,
    ) -> Stream:
        """Open a live stream as `stream` does; its segments name ``file`` and ``channel``."""
        return Stream(
            self._make_scorer(options),
            sample_rate=sample_rate,
            window_s=options.window_s,
            hop_s=options.hop_s,
            vad=self._is_vad_on(options),
            adapt=options.adapt,
            file=file,
            channel=channel,
        )

    # ------------------------------------------------------------------------------ adaptation

    def enroll(
        self,
        sources: Iterable[Source],
        *,
        sample_rate: int | None = None,
        vad: VadMode | None = None,
        emotion: str | None = None,
    ) -> Profile:
        """Learn a speaker or a source from its recordings. Their emotions need not be known.

        Statistics are kept, no sound. A recording up to ``spec.clip_s`` is one clip, of a longer one each
        window with speech is. Varied speech teaches more than neutral speech (docs/enrolment.md).

        Args:
            sources: as for `predict`, several.
            sample_rate: Hz, for arrays.
            vad: as in `predict`.
            emotion: ``"neutral"`` when all recordings are neutral, for a model that knows neutral speech.

        Raises:
            ProfileError: the model cannot be adapted, or a recording holds nothing to learn from.
            AudioError: a recording cannot be read or used.

        >>> import emovox
        >>> model = emovox.load("my-bundle")                                      # doctest: +SKIP
        >>> me = model.enroll(["me1.wav", "me2.wav"])                             # doctest: +SKIP
        >>> model.predict("clip.wav", profile=me).label                           # doctest: +SKIP
        'happy'
        """
        if isinstance(sources, (str, bytes, os.PathLike)):
            raise ConfigError(f"sources is one {type(sources).__name__}; expected several, in a list")
        if emotion not in (None, "neutral"):
            raise ConfigError(f"emotion is {emotion!r}; expected 'neutral' or None")
        options = PredictOptions(vad=vad)
        scorer, vad_on = self._make_scorer(options), self._is_vad_on(options)
        statistics = scorer.make_statistics(emotion)
        for source in sources:
            builder = ProfileBuilder(scorer, vad=vad_on, emotion=emotion)
            for block in self._blocks(source, sample_rate, "mix"):
                builder.push(block[0])
            try:
                statistics.add(builder.finish())
            except ProfileError as error:
                raise ProfileError(f"{_path_of(source) or 'the sound'}: {error}") from None
        if not statistics.n_clips:
            raise ProfileError("there is nothing to enroll; expected a recording or several")
        return statistics.profile()

    # ------------------------------------------------------------------------------ numbers

    @property
    def embedding_size(self) -> int | None:
        """Number of columns of `embed`; ``None``: the model has no embedding."""
        return self._bundle.model.embedding_size

    def embed(
        self,
        source: Source,
        *,
        sample_rate: int | None = None,
        channels: Channels = "mix",
        vad: VadMode | None = None,
    ) -> Floats:
        """Compute the model's embedding of a recording: what its head classifies, before any adaptation.

        The model gets the same sound as in `predict`: a clip cut to its speech, in one run, or of a recording
        longer than ``spec.clip_s`` the windows with speech, whose embeddings are averaged.

        Args:
            source, sample_rate, vad: as in `predict`.
            channels: ``"mix"`` or the number of one, from 0.

        Returns:
            ``(embedding_size,)`` float32.

        Raises:
            ConfigError: the model has no embedding.
            AudioError: the sound cannot be read or used, is shorter than ``spec.min_s``, or longer than
                ``spec.clip_s`` and without speech.
        """
        return self.embed_with_logits(source, sample_rate=sample_rate, channels=channels, vad=vad)[0]

    def embed_with_logits(
        self,
        source: Source,
        *,
        sample_rate: int | None = None,
        channels: Channels = "mix",
        vad: VadMode | None = None,
    ) -> tuple[Floats, Floats]:
        """Compute the embedding as `embed` does, and with it the logits ``(n_labels,)`` of all labels."""
        if self.embedding_size is None:
            raise ConfigError(f"the model {self.name!r} has no embedding")
        if channels == "each":
            raise AudioValueError("embed returns one embedding; name one channel by its number, or the mix")
        options = PredictOptions(vad=vad)
        scorer = self._make_scorer(options)
        reader = RecordingReader(scorer, vad=self._is_vad_on(options))
        scored = []
        for block in self._blocks(source, sample_rate, channels):
            scored += [scorer.score_window(window) for window in reader.push(block[0])]
        scored += [scorer.score_window(window) for window in reader.flush()]
        clip = reader.clip
        if clip is not None and len(clip) >= scorer.min_samples:
            scored = [scorer.score(clip)]
        rows = [
            (one.embedding, one.logits) for one in scored if one is not None and one.embedding is not None
        ]
        if not rows:
            seconds = f"the recording lasts {reader.n / SAMPLE_RATE:g} s"
            if reader.n >= scorer.min_samples:
                raise AudioValueError(f"{seconds} and no speech was found in it")
            raise AudioValueError(f"{seconds}; the model takes {self.spec.min_s:g} s and more")
        embedding, logits = (
            np.stack(values).mean(axis=0, dtype=np.float64).astype(np.float32)
            for values in zip(*rows, strict=True)
        )
        return embedding, logits

    def logits(self, sounds: Sequence[Floats]) -> Floats:
        """Return the model's logits of mono sounds ``(n,)`` float32 at 16 kHz, run as one batch.

        Returns:
            ``(len(sounds), n_labels)`` float32, before the temperature.
        """
        return self._bundle.logits(sounds)

    def probabilities(self, logits: NDArray[Any], *, labels: Iterable[str] | str | None = None) -> Doubles:
        """Return calibrated probabilities of logits ``(..., n_labels)``: the scores of `predict`.

        Returns:
            ``(..., n_chosen)`` float64, summing to 1 over the last axis.
        """
        return Scorer(self._bundle, labels).probabilities(np.asarray(logits))

    # ------------------------------------------------------------------------------ helpers

    def _is_vad_on(self, options: PredictOptions) -> bool:
        return (options.vad or self._vad) == "on"

    def _make_scorer(self, options: PredictOptions) -> Scorer:
        # Without the detector all sound counts as speech, so the model's own opinion is not asked for either.
        detect = self._is_vad_on(options)
        return Scorer(self._bundle, options.labels, options.profile, detect_speech=detect)

    def _blocks(
        self,
        source: Source,
        sample_rate: int | None,
        channels: Channels,
        max_s: float | None = None,
        report: audio.ReadReport | None = None,
    ) -> Iterator[Floats]:
        return audio.blocks(
            source,
            sample_rate=sample_rate,
            channels=channels,
            block_s=BLOCK_S,
            max_s=self._max_s if max_s is None else max_s,
            report=report,
        )


def _make_step(numbers: tuple[int | None, ...], found: Sequence[Sequence[Any]], n: int) -> TimelineStep:
    pairs = zip(numbers, found, strict=True)
    results = tuple((number, result) for number, several in pairs for result in several)
    return TimelineStep(results, n / SAMPLE_RATE, numbers)


def _flatten(outcomes: Iterator[Outcome[Source, list[Prediction]]]) -> Iterator[Prediction]:
    for outcome in outcomes:
        if outcome.value is None:
            yield Prediction(label=None, file=_path_of(outcome.item), error=outcome.error)
        else:
            yield from outcome.value


def _path_of(source: Source) -> str | None:
    """The path as it was given, if it was one."""
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else None


def _identity(work: Callable[[Source], list[Prediction]]) -> Callable[[Source], list[Prediction]]:
    """A factory for `_parallel.map_items`: unpickling ``work`` opens its Recognizer anew in the worker."""
    return work


def _reopen(path: str, sha256: str, threads: int, vad: VadMode, max_s: float | None) -> Recognizer:
    bundle = load_bundle(path, threads=threads)
    if bundle.spec.sha256 != sha256:
        raise BundleCorruptError(f"the bundle in {path} was replaced by another while it was in use")
    return Recognizer(bundle, vad=vad, max_s=max_s)
