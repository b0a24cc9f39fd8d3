"""Documents of the HTTP interface, as shown in the OpenAPI document, and errors for clients."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from emovox.bundles import Spec
from emovox.errors import (
    AudioDecodeError,
    AudioTooLongError,
    AudioValueError,
    ConfigError,
    EmovoxError,
    LabelError,
    MissingExtraError,
    ProfileError,
    TranscriptError,
)
from emovox.results import REASONS

__all__ = [
    "MAX_OVERLAP",
    "AdaptationRow",
    "ErrorAnswer",
    "ErrorBody",
    "ErrorRow",
    "ExplainAnswer",
    "ExplanationRow",
    "LabelledSegment",
    "LabelsRequest",
    "ModelAnswer",
    "ModelName",
    "ModelsAnswer",
    "PredictAnswer",
    "PredictionRow",
    "QualityRow",
    "Refusal",
    "SegmentRow",
    "SpeakerRow",
    "StateAnswer",
    "TimelineAnswer",
    "WindowRow",
    "WordRow",
    "check_overlap",
    "describe_model",
    "error_document",
    "make_refusal",
]

MAX_OVERLAP = 12
"""Windows that may contain the same moment, since each is a run of the model; the page uses 6."""

_Scores = Annotated[
    dict[str, float], Field(description="Probability of each expressed emotion; they sum to 1.")
]
_Values = Annotated[
    dict[str, float] | None, Field(description="Target -> value; only of a model that has targets.")
]
_SCORES = {"neutral": 0.08, "happy": 0.71, "sad": 0.03, "angry": 0.18}


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ModelName(_Document):
    """Which model answered."""

    name: str = Field(examples=["default"])
    version: str = Field(examples=["1"])


class QualityRow(_Document):
    """How usable the sound was; levels are in dB relative to full scale, null when there is none."""

    level_dbfs: float | None = Field(examples=[-23.4])
    peak_dbfs: float | None = Field(examples=[-4.1])
    clipped: float = Field(ge=0, le=1, description="Share of samples at the rail.", examples=[0.0])
    speech_s: float | None = Field(examples=[2.4])
    warnings: list[str] = Field(examples=[[]])


class AdaptationRow(_Document):
    """How far an answer was adapted to a voice profile."""

    weight: float = Field(ge=0, le=1, examples=[0.5])
    n_clips: int = Field(examples=[2])
    emotion: str | None = Field(
        default=None, description="neutral when all its clips were neutral; else absent.", examples=[None]
    )


class WordRow(_Document):
    """A word of a transcript."""

    start_s: float = Field(examples=[0.4])
    end_s: float = Field(examples=[0.7])
    text: str = Field(examples=["Hello"])
    probability: float | None = None


class SpeakerRow(_Document):
    """What one speaker expressed; segments count by their length."""

    speaker: str | None = Field(examples=["Anna"])
    n_segments: int
    n_failed: int
    duration_s: float
    shares: dict[str, float] = Field(description="Label -> share of the duration.", examples=[{"happy": 0.8}])
    unlabelled: dict[str, float] = Field(
        description="Reason -> share of the duration without a label.", examples=[{"uncertain": 0.2}]
    )
    scores: dict[str, float] = Field(description="Mean probabilities.", examples=[_SCORES])
    uncertain: list[list[float]] = Field(
        description="Start and end of segments that are too uncertain for a label.", examples=[[[3.0, 4.5]]]
    )
    values: _Values = None


class PredictionRow(_Document):
    """The expressed emotion of one recording, of one channel of it, or of one segment."""

    file: str | None = Field(description="Base name of the file, if it had one.", examples=["clip.wav"])
    channel: int | None = Field(description="From 0; null for the mix of all.", examples=[None])
    start_s: float = Field(examples=[0.0])
    end_s: float | None = Field(examples=[3.2])
    label: str | None = Field(
        description="The likeliest expressed emotion; null when the recogniser abstains.", examples=["happy"]
    )
    reason: str | None = Field(description=f"Why there is no label: {', '.join(REASONS)}.", examples=[None])
    confidence: float | None = Field(examples=[0.71])
    scores: _Scores = Field(examples=[_SCORES])
    values: _Values = None
    quality: QualityRow | None
    adaptation: AdaptationRow | None = Field(None, description="Present when a voice profile was used.")
    speaker: str | None = Field(None, description="Of a segment.", examples=["Anna"])
    text: str | None = Field(None, description="Of a segment.", examples=["Hello"])
    words: list[WordRow] | None = Field(None, description="Of a segment whose words have times.")


class ErrorRow(_Document):
    """One of several files, or of the segments of one, that could not be processed."""

    file: str | None
    error: str
    start_s: float | None = None
    end_s: float | None = None
    speaker: str | None = None
    text: str | None = None
    words: list[WordRow] | None = None


class PredictAnswer(_Document):
    """One row a recording (a channel with ``channels=each``) or segment, in the order they were sent."""

    model: ModelName
    predictions: list[PredictionRow | ErrorRow]
    speakers: list[SpeakerRow] | None = Field(None, description="Present when segments were sent.")
    problems: list[str] | None = Field(None, description="Parts of the label file that are no segments.")


class SegmentRow(_Document):
    """A segment of speech with one expressed emotion."""

    file: str | None = Field(examples=["call.wav"])
    channel: int | None = Field(examples=[None])
    start_s: float = Field(examples=[0.4])
    end_s: float = Field(examples=[4.4])
    label: str | None = Field(examples=["happy"])
    reason: str | None = Field(examples=[None])
    confidence: float | None = Field(examples=[0.71])
    scores: _Scores = Field(examples=[_SCORES])
    values: _Values = None
    adaptation: AdaptationRow | None = Field(None, description="Present when a voice profile was used.")


class WindowRow(_Document):
    """The raw scores of one hop."""

    channel: int | None = Field(examples=[None])
    start_s: float = Field(examples=[0.0])
    end_s: float = Field(examples=[3.0])
    speech: float = Field(ge=0, le=1, description="Share of the window that is speech.", examples=[0.8])
    scores: _Scores = Field(description="Empty when there is too little speech.", examples=[_SCORES])
    values: _Values = None


class TimelineAnswer(_Document):
    """The segments of a recording in the order they became final; its windows when they were asked for."""

    model: ModelName
    segments: list[SegmentRow]
    windows: list[WindowRow] | None = None
    duration_s: float = Field(examples=[18.2])


class ExplanationRow(_Document):
    """What in a recording decided for a label: how far its log-odds drop without a part of the sound."""

    file: str | None = Field(examples=["clip.wav"])
    channel: int | None = Field(description="From 0; null for the mix of all.", examples=[None])
    model: str | None = Field(description="Absent in answers of a server: see the answer's `model`.")
    label: str = Field(examples=["happy"])
    score: float = Field(description="Probability of the label on the whole sound.", examples=[0.71])
    scores: _Scores = Field(examples=[_SCORES])
    main_span_s: list[float] | None = Field(description="Where it was mostly decided.", examples=[[0.8, 1.4]])
    main_band_hz: list[float] | None = Field(examples=[[300.0, 800.0]])
    times_s: list[float] = Field(description="Edges of the parts in time, one more than their drops.")
    time_drops: list[float] = Field(description="Above 0: the part speaks for the label; below: against it.")
    bands_hz: list[float]
    band_drops: list[float]
    map_times_s: list[float]
    map_bands_hz: list[float]
    map_drops: list[list[float]] = Field(description="A row per time, a column per band.")
    n_runs: int = Field(description="How often the model was run.", examples=[148])


class ExplainAnswer(_Document):
    """The explanation of one recording."""

    model: ModelName
    explanation: ExplanationRow


_Time = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]


class LabelledSegment(BaseModel):
    """What a label file holds of a segment; other fields are left out."""

    channel: int | None = Field(None, ge=0, le=999)
    start_s: _Time = Field(examples=[0.4])
    end_s: _Time = Field(examples=[4.4])
    label: str | None = Field(None, max_length=200, examples=["happy"])
    reason: str | None = Field(None, max_length=200)
    confidence: float | None = Field(None, ge=0, le=1, examples=[0.71])
    speaker: str | None = Field(None, max_length=1000)
    text: str | None = Field(None, max_length=100_000)


class LabelsRequest(BaseModel):
    """Segments of one recording."""

    file: str | None = Field(None, max_length=255, examples=["call.wav"])
    duration_s: _Time | None = None
    segments: list[LabelledSegment] = Field(max_length=100_000)


class ModelAnswer(_Document):
    """A model that this server answers with."""

    name: str = Field(description="What to give as `model`.", examples=["default"])
    version: str
    description: str
    labels: list[str]
    targets: list[str] | None = Field(None, description="What it gives values of, if anything.")
    corpora: list[str] = Field(description="What it was trained on.")
    protocol: str
    licence: dict[str, Any]
    scores: list[dict[str, Any]] = Field(description="Measured, each with corpus, protocol and interval.")
    window_s: float
    hop_s: float
    min_s: float
    takes_profile: bool = Field(description="Whether it can use a voice profile.")


class ModelsAnswer(_Document):
    """The models of this server."""

    models: list[ModelAnswer]
    default: str


class StateAnswer(_Document):
    """State of the server."""

    status: Literal["ok", "ready"]


class ErrorBody(_Document):
    """An error: what was given, what was expected, what to do."""

    code: str = Field(examples=["not_audio"])
    message: str = Field(examples=["not audio that can be read; expected wav, flac, mp3, ..."])


class ErrorAnswer(_Document):
    """The body of every error."""

    error: ErrorBody


class Refusal(Exception):
    """An error to report to the client.

    Args:
        status: of HTTP.
        code: a word for programs.
        message: a sentence for people.
        retry_after_s: when to try again, where that helps.
    """

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: float | None = None) -> None:
        message = message.encode(errors="replace").decode()  # lone surrogates cannot be encoded
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.retry_after_s = retry_after_s


_STATUSES: tuple[tuple[type[EmovoxError], int, str], ...] = (
    (AudioTooLongError, 413, "too_long"),
    (AudioDecodeError, 415, "not_audio"),
    (MissingExtraError, 415, "not_audio"),
    (AudioValueError, 422, "unusable_sound"),
    (TranscriptError, 400, "bad_segments"),
    (LabelError, 400, "bad_label"),
    (ProfileError, 400, "bad_profile"),
    (ConfigError, 400, "bad_argument"),
)
"""The first match counts, from special to general."""


def make_refusal(error: EmovoxError) -> Refusal:
    """Return the refusal for an error of the library. Errors that are not the client's are raised again."""
    for kind, status, code in _STATUSES:
        if isinstance(error, kind):
            return Refusal(status, code, str(error))
    raise error


def check_overlap(window_s: float, hop_s: float, spec: Spec) -> None:
    """Refuse windows that overlap more than `MAX_OVERLAP` times, unless the model's own do, too.

    Raises:
        Refusal: 400, with the least hop.
    """
    most = max(MAX_OVERLAP, spec.window_s / spec.hop_s)
    overlap = round(
        window_s / hop_s, 1
    )  # a hop has whole samples, so it may be a little shorter than requested
    if overlap > round(most, 1):
        raise Refusal(
            400,
            "bad_argument",
            f"hop is {hop_s:g} s and window {window_s:g} s: each moment would be in {overlap:g} windows; "
            f"expected at most {most:g}, here a hop of {window_s / most:.3g} s",
        )


def error_document(code: str, message: str) -> dict[str, Any]:
    """Return the body of an error."""
    return {"error": {"code": code, "message": message}}


def describe_model(name: str, spec: Spec) -> dict[str, Any]:
    """Return the description of a model; ``name`` is its name in requests."""
    whole = spec.to_dict()
    keys = ("version", "description", "corpora", "protocol", "licence", "scores")
    times = ("window_s", "hop_s", "min_s")
    return {
        "name": name,
        "labels": list(spec.labels),
        **({"targets": list(spec.target_names)} if spec.targets else {}),
        **{key: whole[key] for key in (*keys, *times)},
        "takes_profile": spec.normaliser is not None or spec.adaptation is not None,
    }
