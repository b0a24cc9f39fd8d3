"""What is said over the wire: requests and answers, as the OpenAPI document shows them, and refusals."""

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
)
from emovox.results import REASONS

__all__ = [
    "MAX_OVERLAP",
    "ErrorAnswer",
    "ErrorBody",
    "ErrorRow",
    "ModelAnswer",
    "ModelName",
    "ModelsAnswer",
    "PredictAnswer",
    "PredictionRow",
    "QualityRow",
    "Refusal",
    "SegmentRow",
    "StateAnswer",
    "TimelineAnswer",
    "WindowRow",
    "check_overlap",
    "error_document",
    "model_answer",
    "refusal_for",
]

MAX_OVERLAP = 12
"""Windows that may judge the same moment, for each is a run of the model; the page asks for 6."""

_Scores = Annotated[
    dict[str, float], Field(description="Probability of each expressed emotion; they sum to 1.")
]
_SCORES = {"neutral": 0.08, "happy": 0.71, "sad": 0.03, "angry": 0.18}


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ModelName(_Said):
    """Which model answered."""

    name: str = Field(examples=["default"])
    version: str = Field(examples=["1"])


class QualityRow(_Said):
    """How usable the sound was; levels are in dB relative to full scale, null when there is none."""

    level_dbfs: float | None = Field(examples=[-23.4])
    peak_dbfs: float | None = Field(examples=[-4.1])
    clipped: float = Field(ge=0, le=1, description="Share of samples at the rail.", examples=[0.0])
    speech_s: float | None = Field(examples=[2.4])
    warnings: list[str] = Field(examples=[[]])


class PredictionRow(_Said):
    """The expressed emotion of one recording, or of one channel of it."""

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
    quality: QualityRow | None


class ErrorRow(_Said):
    """One of several files that could not be judged."""

    file: str | None
    error: str


class PredictAnswer(_Said):
    """One row a recording (a channel with ``channels=each``), in the order they were sent."""

    model: ModelName
    predictions: list[PredictionRow | ErrorRow]


class SegmentRow(_Said):
    """A stretch of speech with one expressed emotion."""

    file: str | None = Field(examples=["call.wav"])
    channel: int | None = Field(examples=[None])
    start_s: float = Field(examples=[0.4])
    end_s: float = Field(examples=[4.4])
    label: str | None = Field(examples=["happy"])
    reason: str | None = Field(examples=[None])
    confidence: float = Field(examples=[0.71])
    scores: _Scores = Field(examples=[_SCORES])


class WindowRow(_Said):
    """The raw scores of one hop."""

    channel: int | None = Field(examples=[None])
    start_s: float = Field(examples=[0.0])
    end_s: float = Field(examples=[3.0])
    speech: float = Field(ge=0, le=1, description="Share of the window that is speech.", examples=[0.8])
    scores: _Scores = Field(description="Empty when there is too little speech.", examples=[_SCORES])


class TimelineAnswer(_Said):
    """The segments of a recording in the order they became final; its windows when they were asked for."""

    model: ModelName
    segments: list[SegmentRow]
    windows: list[WindowRow] | None = None
    duration_s: float = Field(examples=[18.2])


class ModelAnswer(_Said):
    """A model that this server answers with."""

    name: str = Field(description="What to give as `model`.", examples=["default"])
    version: str
    description: str
    labels: list[str]
    corpora: list[str] = Field(description="What it was trained on.")
    protocol: str
    licence: dict[str, Any]
    scores: list[dict[str, Any]] = Field(description="Measured, each with corpus, protocol and interval.")
    window_s: float
    hop_s: float
    min_s: float
    takes_profile: bool = Field(description="Whether it can use a voice profile.")


class ModelsAnswer(_Said):
    """The models of this server."""

    models: list[ModelAnswer]
    default: str


class StateAnswer(_Said):
    """How the server is."""

    status: Literal["ok", "ready"]


class ErrorBody(_Said):
    """What went wrong: what was got, what was expected, what to do."""

    code: str = Field(examples=["not_audio"])
    message: str = Field(examples=["not sound that can be read; expected wav, flac, mp3, ..."])


class ErrorAnswer(_Said):
    """Every answer that is not the one asked for."""

    error: ErrorBody


class Refusal(Exception):
    """A request that is not met.

    Args:
        status: of HTTP.
        code: one word for programs.
        message: a sentence for people.
        retry_after_s: when to come again, where that helps.
    """

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: float | None = None) -> None:
        message = message.encode(errors="replace").decode()  # halves of surrogates cannot be sent back
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.retry_after_s = retry_after_s


_MEANT: tuple[tuple[type[EmovoxError], int, str], ...] = (
    (AudioTooLongError, 413, "too_long"),
    (AudioDecodeError, 415, "not_audio"),
    (MissingExtraError, 415, "not_audio"),
    (AudioValueError, 422, "unusable_sound"),
    (LabelError, 400, "bad_label"),
    (ProfileError, 400, "bad_profile"),
    (ConfigError, 400, "bad_argument"),
)
"""The first that fits, from the special to the general."""


def refusal_for(error: EmovoxError) -> Refusal:
    """What an error of the library means to a client. One that is not a client's fault is raised again."""
    for kind, status, code in _MEANT:
        if isinstance(error, kind):
            return Refusal(status, code, str(error))
    raise error


def check_overlap(window_s: float, hop_s: float, spec: Spec) -> None:
    """Refuse windows that overlap more than `MAX_OVERLAP` times, unless the model's own do, too.

    Raises:
        Refusal: 400, with the least hop.
    """
    most = max(MAX_OVERLAP, spec.window_s / spec.hop_s)
    overlap = round(window_s / hop_s, 1)  # a hop is of whole samples, so perhaps a little less than was asked
    if overlap > round(most, 1):
        raise Refusal(
            400,
            "bad_argument",
            f"hop is {hop_s:g} s and window {window_s:g} s: each moment would be judged {overlap:g} times; "
            f"expected at most {most:g}, here a hop of {window_s / most:.3g} s",
        )


def error_document(code: str, message: str) -> dict[str, Any]:
    """The body of every error."""
    return {"error": {"code": code, "message": message}}


def model_answer(name: str, spec: Spec) -> dict[str, Any]:
    """What is told of a model; ``name`` is what a request calls it."""
    whole = spec.to_dict()
    told = ("version", "description", "corpora", "protocol", "licence", "scores")
    times = ("window_s", "hop_s", "min_s")
    return {
        "name": name,
        "labels": list(spec.labels),
        **{key: whole[key] for key in (*told, *times)},
        "takes_profile": spec.normaliser is not None,
    }
