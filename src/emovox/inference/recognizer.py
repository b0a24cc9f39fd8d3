"""What does this voice express? A file, an array, a long recording, a live stream.

One way for all of them: sound -> windows (or a whole clip) -> the bundle's logits -> probabilities. A
timeline is a stream fed with a file, so the two agree to the last bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emovox import audio
from emovox._arrays import Doubles, Floats
from emovox.audio import SAMPLE_RATE, Channels, Source
from emovox.bundles import Bundle, Spec, load_bundle
from emovox.errors import AudioValueError, BundleCorruptError, ConfigError, ProfileError
from emovox.inference.adaptation import Profile
from emovox.inference.scorer import Judge
from emovox.inference.stream import BLOCK_S, Learner, Listener, Stream, Switch, switch
from emovox.results import Prediction, Segment, Window

if TYPE_CHECKING:
    from emovox._parallel import Outcome

__all__ = ["Recognizer"]


class Recognizer:
    """A model that is ready to listen. Immutable: share it between threads as you like.

    Args:
        bundle: an opened model (see `emovox.load`).
        vad: whether a voice activity detector looks for speech. When it is off, all sound counts as speech.
        max_s: seconds that a recording may last; a longer one is an AudioTooLongError, and is not
            decoded further. ``None``: no limit. Live streams have none.

    Raises:
        ConfigError: ``vad`` is neither "on" nor "off", or ``max_s`` not above 0.
    """

    def __init__(self, bundle: Bundle, *, vad: Switch = "on", max_s: float | None = None) -> None:
        if max_s is not None and not max_s > 0:
            raise ConfigError(f"max_s is {max_s!r}; expected seconds, more than 0, or None")
        self._bundle = bundle
        self._vad = switch(vad)
        self._max_s = max_s

    @property
    def spec(self) -> Spec:
        """All that is known about the model."""
        return self._bundle.spec

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions it can answer, in the order of its scores."""
        return self.spec.labels

    @property
    def name(self) -> str:
        """The model's name."""
        return self.spec.name

    def __repr__(self) -> str:
        return f"Recognizer({self.name!r}, version={self.spec.version!r}, labels={self.labels})"

    def __reduce__(self) -> tuple[Callable[..., Recognizer], tuple[Any, ...]]:
        """Another process opens the same bundle again."""
        bundle = self._bundle
        if bundle.path is None:
            raise TypeError("a Recognizer whose bundle was not loaded from a folder cannot be pickled")
        return _reopened, (
            str(bundle.path.absolute()),
            self.spec.sha256,
            bundle.threads,
            self._vad,
            self._max_s,
        )

    # ------------------------------------------------------------------------------ whole recordings

    def predict(
        self,
        source: Source,
        *,
        sample_rate: int | None = None,
        labels: Iterable[str] | str | None = None,
        channels: Channels = "mix",
        vad: Switch | None = None,
        profile: Profile | None = None,
    ) -> Prediction:
        """Judge one recording.

        Up to ``spec.clip_s`` it is judged in one run; a longer one by windows side by side, whose
        probabilities are averaged over its speech (unsmoothed). Memory does not grow with its length.

        It abstains (``label`` is ``None``) for one of these reasons, the first that holds:

        - ``silence``, ``too_short`` (than ``spec.min_s``): there is nothing to judge; no scores.
        - ``no_speech``: the voice activity detector heard none. The scores of a clip are given all the same,
          for a detector may be wrong (whispers); a long recording has none, for no window was judged.
        - ``uncertain``: the confidence is below ``spec.abstain.confidence``; with scores.

        Args:
            source: a path, the bytes of a file, a binary file object, or an array with its ``sample_rate``.
            sample_rate: Hz, for an array.
            labels: answer only these (names or aliases); the scores are renormalised over them.
            channels: ``"mix"`` or the number of one, from 0; for all apart there is `predict_channels`.
            vad: ``"on"`` or ``"off"``, instead of the recogniser's own setting.
            profile: what is known of the voice, as `enroll` gives it.

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
            raise AudioValueError("predict gives one answer; for one answer a channel call predict_channels")
        return self._predict(source, sample_rate, labels, channels, vad, profile)[0]

    def predict_channels(
        self,
        source: Source,
        *,
        sample_rate: int | None = None,
        labels: Iterable[str] | str | None = None,
        vad: Switch | None = None,
        profile: Profile | None = None,
    ) -> list[Prediction]:
        """Judge each channel of a recording apart: a two-channel call has a speaker on each side.

        Arguments and errors are those of `predict`. The answers are in the order of the channels.
        """
        return self._predict(source, sample_rate, labels, "each", vad, profile)

    def predict_many(
        self,
        sources: Iterable[Source],
        *,
        workers: int = 1,
        labels: Iterable[str] | str | None = None,
        channels: Channels = "mix",
        vad: Switch | None = None,
        profile: Profile | None = None,
    ) -> Iterator[Prediction]:
        """Judge many recordings; answers come in input order, as soon as they are known.

        One that fails, or that crashes its process, is a `Prediction` with ``error`` and costs no other.

        Args:
            sources: mostly paths; read only a little ahead.
            workers: processes. The answers are the same for any number of them.
            labels, channels, vad, profile: as in `predict`; ``channels="each"`` gives an answer for each
                channel.

        Raises:
            LabelError, ConfigError, ProfileError: at once, a wrong argument.
            EmovoxError: while iterating, a worker process could not start.
        """
        from emovox import _parallel  # most calls judge one recording, and need no processes

        if isinstance(sources, (str, bytes, os.PathLike)):
            raise ConfigError(f"sources is one {type(sources).__name__}; expected many: predict judges one")
        names = Judge(self._bundle, labels, profile).names
        audio.blocks(b"", channels=channels)  # refuses wrong channels now, and reads nothing
        work = partial(
            self._predict,
            sample_rate=None,
            labels=names,
            channels=channels,
            vad=self._switch(vad),
            profile=profile,
        )
        return _rows(_parallel.map_items(partial(_same, work), sources, workers=workers))

    def _predict(
        self,
        source: Source,
        sample_rate: int | None,
        labels: Iterable[str] | str | None,
        channels: Channels,
        vad: Switch | None,
        profile: Profile | None,
    ) -> list[Prediction]:
        judge, vad = Judge(self._bundle, labels, profile), self._switch(vad)
        listeners: list[Listener] = []
        for block in self._blocks(source, sample_rate, channels):
            if not listeners:
                listeners = [Listener(judge, vad=vad) for _ in block]
            for listener, x in zip(listeners, block, strict=True):
                listener.push(x)
        file = _file(source)
        return [
            listener.finish(file=file, channel=channel)
            for listener, channel in zip(listeners, _numbers(channels, len(listeners)), strict=True)
        ]

    # ------------------------------------------------------------------------------ along the time

    def timeline(
        self,
        source: Source,
        *,
        sample_rate: int | None = None,
        window_s: float | None = None,
        hop_s: float | None = None,
        labels: Iterable[str] | str | None = None,
        channels: Channels = "mix",
        vad: Switch | None = None,
        profile: Profile | None = None,
        adapt: bool = False,
    ) -> Iterator[Segment]:
        """The segments of a recording: speech only, smoothed, merged; given while it is read.

        Args:
            source, sample_rate, labels, vad, profile: as in `predict`.
            window_s: seconds that are judged at once; ``spec.window_s`` unless given.
            hop_s: seconds from one window to the next; ``spec.hop_s`` unless given.
            channels: ``"mix"``, the number of one, or ``"each"``: then segments of all channels come as they
                become final, and each names its ``channel``.
            adapt: whether the voice is learnt as it goes (one voice a channel, then), beginning with
                ``profile``. A window is judged by what came before it, never by what comes.

        Raises:
            LabelError, ConfigError, ProfileError: at once, a wrong argument.
            AudioError: while iterating, the sound cannot be read or used.
        """
        opened = partial(
            Stream,
            Judge(self._bundle, labels, profile),
            sample_rate=SAMPLE_RATE,
            window_s=window_s,
            hop_s=hop_s,
            vad=self._switch(vad),
            adapt=adapt,
            file=_file(source),
        )
        opened()  # refuses a wrong argument now, not at the first segment
        blocks = self._blocks(source, sample_rate, channels)
        return _timeline(blocks, channels, opened)

    def stream(
        self,
        *,
        sample_rate: int,
        window_s: float | None = None,
        hop_s: float | None = None,
        labels: Iterable[str] | str | None = None,
        vad: Switch | None = None,
        profile: Profile | None = None,
        adapt: bool = False,
    ) -> Stream:
        """Open a live stream of sound at ``sample_rate`` Hz; the other arguments are those of `timeline`."""
        return Stream(
            Judge(self._bundle, labels, profile),
            sample_rate=sample_rate,
            window_s=window_s,
            hop_s=hop_s,
            vad=self._switch(vad),
            adapt=adapt,
        )

    # ------------------------------------------------------------------------------ one voice

    def enroll(
        self,
        sources: Iterable[Source],
        *,
        sample_rate: int | None = None,
        vad: Switch | None = None,
    ) -> Profile:
        """Learn a voice from recordings of one speaker. Their emotions need not be known.

        Statistics are kept, no sound. A recording up to ``spec.clip_s`` is one clip, of a longer one each
        window with speech is. Varied speech teaches more than neutral speech (docs/enrolment.md).

        Args:
            sources: as for `predict`, several.
            sample_rate: Hz, for arrays.
            vad: as in `predict`.

        Raises:
            ProfileError: the model cannot use a profile, or a recording holds nothing to learn from.
            AudioError: a recording cannot be read or used.

        >>> import emovox
        >>> model = emovox.load("my-bundle")                                      # doctest: +SKIP
        >>> me = model.enroll(["me1.wav", "me2.wav"])                             # doctest: +SKIP
        >>> model.predict("clip.wav", profile=me).label                           # doctest: +SKIP
        'happy'
        """
        if isinstance(sources, (str, bytes, os.PathLike)):
            raise ConfigError(f"sources is one {type(sources).__name__}; expected several, in a list")
        judge, vad = Judge(self._bundle), self._switch(vad)
        learnt = judge.enrolment()
        for source in sources:
            learnt.add(_learnt(judge, self._blocks(source, sample_rate, "mix"), vad, _file(source)))
        if not learnt.n_clips:
            raise ProfileError("there is nothing to enroll; expected a recording or several")
        return learnt.profile()

    # ------------------------------------------------------------------------------ numbers

    def logits(self, sounds: Sequence[Floats]) -> Floats:
        """The model's raw answers to mono sounds ``(n,)`` float32 at 16 kHz, run as one batch.

        Returns:
            ``(len(sounds), n_labels)`` float32, before the temperature.
        """
        return self._bundle.logits(sounds)

    def probabilities(self, logits: NDArray[Any], *, labels: Iterable[str] | str | None = None) -> Doubles:
        """Calibrated probabilities of logits ``(..., n_labels)``: what `predict` gives as scores.

        Returns:
            ``(..., n_chosen)`` float64, summing to 1 over the last axis.
        """
        return Judge(self._bundle, labels).probabilities(np.asarray(logits))

    def _switch(self, vad: Switch | None) -> Switch:
        return self._vad if vad is None else switch(vad)

    def _blocks(self, source: Source, sample_rate: int | None, channels: Channels) -> Iterator[Floats]:
        return audio.blocks(
            source, sample_rate=sample_rate, channels=channels, block_s=BLOCK_S, max_s=self._max_s
        )


# ---------------------------------------------------------------------------------------------- helpers


def _timeline(
    blocks: Iterator[Floats], channels: Channels, opened: Callable[..., Stream]
) -> Iterator[Segment]:
    """Feed each channel ``(c, n)`` of ``blocks`` to a stream of its own; give the segments."""
    streams: list[Stream] = []
    for block in blocks:
        if not streams:
            streams = [opened(channel=channel) for channel in _numbers(channels, len(block))]
        for each, x in zip(streams, block, strict=True):
            yield from _segments(each.push(x))
    for each in streams:
        yield from _segments(each.flush())


def _learnt(judge: Judge, blocks: Iterator[Floats], vad: Switch, file: str | None) -> Profile:
    learner = Learner(judge, vad=vad)
    for block in blocks:
        learner.push(block[0])
    try:
        return learner.finish()
    except ProfileError as error:
        raise ProfileError(f"{file or 'the sound'}: {error}") from None


def _segments(found: list[Window | Segment]) -> Iterator[Segment]:
    return (each for each in found if isinstance(each, Segment))


def _rows(outcomes: Iterator[Outcome[Source, list[Prediction]]]) -> Iterator[Prediction]:
    for outcome in outcomes:
        if outcome.value is None:
            yield Prediction(label=None, file=_file(outcome.item), error=outcome.error)
        else:
            yield from outcome.value


def _numbers(channels: Channels, n: int) -> Sequence[int | None]:
    """What the answers say about their channel."""
    if channels == "each":
        return range(n)
    return [None if channels == "mix" else int(channels)]


def _file(source: Source) -> str | None:
    """The path as it was given, if it was one."""
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else None


def _same(work: Callable[[Source], list[Prediction]]) -> Callable[[Source], list[Prediction]]:
    """A factory for `map_items`: pickling ``work`` makes each process load the Recognizer anew."""
    return work


def _reopened(path: str, sha256: str, threads: int, vad: Switch, max_s: float | None) -> Recognizer:
    bundle = load_bundle(path, threads=threads)
    if bundle.spec.sha256 != sha256:
        raise BundleCorruptError(f"the bundle in {path} was replaced by another while it was in use")
    return Recognizer(bundle, vad=vad, max_s=max_s)
