"""The HTTP routes: a recording is read, processed in the model pool, and answered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import Receive, Scope, Send

from emovox.inference.options import PredictOptions
from emovox.inference.recognizer import Recognizer
from emovox.results import Prediction, csv_header, csv_line
from emovox.server.answers import (
    TimelineEvents,
    check_options,
    explain_upload,
    predict_upload,
    predict_upload_segments,
    predict_upload_timeline,
)
from emovox.server.limits import LimitConcurrency, RequireKey, ServerState, get_state
from emovox.server.monitoring import CONTENT_TYPE
from emovox.server.schemas import (
    ErrorAnswer,
    ExplainAnswer,
    LabelsRequest,
    ModelsAnswer,
    PredictAnswer,
    Refusal,
    StateAnswer,
    TimelineAnswer,
    describe_model,
    error_document,
)
from emovox.server.uploads import RequestBody, read_body
from emovox.transcripts import MEDIA_TYPES
from emovox.transcripts.speakers import summarize_speakers
from emovox.transcripts.writing import format_rows

__all__ = ["public_router", "router"]

router = APIRouter(dependencies=[RequireKey])
"""Routes that require the API key."""

public_router = APIRouter()
"""Routes for everybody."""

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "An argument is wrong, or the body cannot be read"},
    401: {"model": ErrorAnswer, "description": "The API key is missing or wrong"},
    408: {"model": ErrorAnswer, "description": "The body took too long"},
    413: {"model": ErrorAnswer, "description": "Too many bytes, files or seconds"},
    415: {"model": ErrorAnswer, "description": "Not audio that can be read"},
    422: {"model": ErrorAnswer, "description": "Audio that cannot be used"},
    429: {"model": ErrorAnswer, "description": "Too many requests; see Retry-After"},
    500: {"model": ErrorAnswer, "description": "An internal error of the server"},
    503: {"model": ErrorAnswer, "description": "Too busy, or stopping; see Retry-After"},
}


def _errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: _ERRORS[code] for code in codes}


_BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "file": {"type": "array", "items": _BINARY, "minItems": 1, "description": "Recordings."},
        "profile": {**_BINARY, "description": "A voice profile, as `emovox enroll` writes it."},
    },
    "required": ["file"],
}
_SEGMENTS: dict[str, Any] = {
    **_BINARY,
    "description": "A transcript or label file of the one recording: SRT, WebVTT, TextGrid, ELAN, RTTM, CTM, "
    "Audacity, JSON of Whisper or WhisperX, CSV. Each of its segments is a row.",
}
_RowFormat: TypeAlias = Literal["json", "jsonl", "csv", "srt", "vtt", "textgrid", "eaf", "audacity", "rttm"]
_MEDIA_TYPES = {"jsonl": "application/x-ndjson", "csv": "text/csv", **MEDIA_TYPES}
_LABELS_SCHEMA = LabelsRequest.model_json_schema()
_MAX_PROBLEMS = 100
"""Parts of a label file that an answer reports one by one."""
_FORMAT_NOTE = "Instead of the header `Accept`, whose first known type counts."


def _describe_body(form: dict[str, Any]) -> dict[str, Any]:
    return {
        "requestBody": {
            "required": True,
            "description": "A recording itself, of whatever type is declared; or a form.",
            "content": {
                "application/octet-stream": {"schema": _BINARY},
                "multipart/form-data": {"schema": form},
            },
        }
    }


class _PredictQuery(BaseModel):
    """Options of a prediction."""

    model_config = ConfigDict(extra="forbid")

    labels: str | None = Field(
        None, max_length=500, description="Choose among these only.", examples=["angry,happy,neutral,sad"]
    )
    channels: str = Field(
        "mix",
        pattern=r"^(mix|each|[0-9]{1,2})$",
        description="The mean of all, each separately, or the number of one, from 0.",
    )
    vad: Literal["on", "off"] = Field("on", description="Voice activity detection.")
    model: str | None = Field(None, max_length=300, description="One of `/v1/models`.", examples=["default"])
    profile: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_-]{1,64}$", description="A voice profile stored on the server."
    )


class _SegmentsQuery(_PredictQuery):
    """Options of a prediction; the rest need segments."""

    format: _RowFormat | None = Field(None, description=f"Of the rows of segments. {_FORMAT_NOTE}")
    adapt: bool = Field(False, description="With segments: adapt the model to each speaker, if it can.")
    tier: str | None = Field(
        None, max_length=500, description="With segments of a TextGrid or ELAN file: read this tier only."
    )


class _TimelineQuery(_PredictQuery):
    """Options of a timeline."""

    format: _RowFormat | Literal["sse"] | None = Field(
        None, description=f"`sse`: events, while it is computed. {_FORMAT_NOTE}"
    )
    window: float | None = Field(None, gt=0, le=3600, description="Length of a window in seconds.")
    hop: float | None = Field(None, gt=0, le=3600, description="Seconds from one window to the next.")
    windows: bool = Field(False, description="Also return the scores of every window (not with csv).")
    adapt: bool = Field(False, description="Adapt the model to each channel as it goes, if it can.")


class _ExplainQuery(BaseModel):
    """Options of an explanation."""

    model_config = ConfigDict(extra="forbid")

    label: str | None = Field(None, max_length=200, description="The likeliest unless given.")
    channels: str = Field(
        "mix", pattern=r"^(mix|[0-9]{1,2})$", description="The mean of all, or the number of one, from 0."
    )
    vad: Literal["on", "off"] = Field("on", description="Voice activity detection.")
    model: str | None = Field(None, max_length=300, description="One of `/v1/models`.", examples=["default"])
    profile: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_-]{1,64}$", description="A voice profile stored on the server."
    )


_TEXT_CONTENT: dict[str, Any] = {name: {"schema": {"type": "string"}} for name in _MEDIA_TYPES.values()}

# --- predictions ----------------------------------------------------------------------------------


@router.post(
    "/v1/predict",
    dependencies=[LimitConcurrency],
    response_model=PredictAnswer,
    responses={200: {"content": _TEXT_CONTENT}, **_ERRORS},
    openapi_extra=_describe_body({**_FORM, "properties": {**_FORM["properties"], "segments": _SEGMENTS}}),
    summary="The expressed emotion of recordings, or of the segments of one",
)
async def predict(request: Request, query: Annotated[_SegmentsQuery, Query()]) -> Response:
    """Predict one recording or several. Of several, one that fails is a row with its error.

    With a part `segments`, each segment of the one recording is predicted.
    """
    state = get_state(request)
    name, model = state.models.model(query.model)
    options = PredictOptions(labels=query.labels, channels=query.channels, vad=query.vad, adapt=query.adapt)
    options = check_options(model, options)  # before the body is read
    async with _read_request(request) as body:
        options = await _add_profile(state, model, options, query.profile, body.profile)
        if body.segments is not None:
            return await _predict_segments(request, query, body, options)
        if query.adapt or query.tier is not None or query.format not in (None, "json"):
            text = "adapt, tier and other formats than json are of segments; send them as part 'segments'"
            raise Refusal(400, "bad_argument", text)
        rows: list[dict[str, Any]] = []
        for upload in body.files:
            await _check_connected(request)
            work = partial(predict_upload, model, upload, options)
            try:
                predictions = await state.models.run(work, admitted=bool(rows))
            except Refusal as refusal:
                if len(body.files) == 1 or refusal.status == 503:
                    raise
                rows.append({"file": upload.name, "error": refusal.message})
                continue
            _count_audio(request, sum(each.duration_s or 0.0 for each in predictions[:1]))
            rows += [each.to_dict() for each in predictions]
    return JSONResponse({"model": _identify(name, model), "predictions": rows})


async def _predict_segments(
    request: Request, query: _SegmentsQuery, body: RequestBody, options: PredictOptions
) -> Response:
    state = get_state(request)
    name, model = state.models.model(query.model)
    if len(body.files) > 1 or options.channels == "each":
        raise Refusal(400, "bad_form", "segments are of one recording, and of its mix or one channel")
    work = partial(
        predict_upload_segments,
        *(model, body.files[0], options, body.segments or b""),
        tier=query.tier,
        max_s=state.settings.max_seconds,
    )
    results, transcript = await state.models.run(work)
    rows = [each.to_dict() for each in results]
    _count_audio(request, sum(row["end_s"] - row["start_s"] for row in rows if "error" not in row))
    form = query.format or _negotiate(request, "json")
    if form != "json":
        return _format_text(form, rows, tuple(options.labels or ()), model.targets, transcript=True)
    speakers = [one.to_dict() for one in summarize_speakers(rows)]
    problems = list(transcript.problems[:_MAX_PROBLEMS])
    if len(transcript.problems) > _MAX_PROBLEMS:
        problems.append(f"and {len(transcript.problems) - _MAX_PROBLEMS} more")
    answer = {
        "model": _identify(name, model),
        "predictions": rows,
        "speakers": speakers,
        "problems": problems,
    }
    return JSONResponse(answer)


def _negotiate(request: Request, *others: str) -> str:
    """Return the format of the first type in ``Accept`` that is known; the first of ``others`` if none is."""
    known = {media_type: form for form, media_type in _MEDIA_TYPES.items()}
    known |= {"application/json": "json"} | ({"text/event-stream": "sse"} if "sse" in others else {})
    accepted = (
        part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")
    )
    return next((known[one] for one in accepted if one in known), others[0])


def _format_text(
    form: str,
    rows: Sequence[dict[str, Any]],
    labels: tuple[str, ...],
    targets: tuple[str, ...] = (),
    *,
    transcript: bool = False,
    duration_s: float | None = None,
) -> Response:
    """Return rows in another format than JSON."""
    if form == "csv":
        lines = (csv_line(row, labels, targets, transcript=transcript) for row in rows)
        text = csv_header(labels, targets, transcript=transcript) + "".join(lines)
    elif form == "jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    else:
        text = "".join(format_rows(form, rows, duration_s=duration_s))
    return Response(text.encode("utf-8", "replace"), media_type=_MEDIA_TYPES[form])


# --- timelines ------------------------------------------------------------------------------------

_SSE_EXAMPLE = """event: segment
data: {"file": null, "start_s": 0.4, "end_s": 4.4, "label": "happy", "confidence": 0.71, "scores": {}}

event: end
data: {"duration_s": 18.2, "n_segments": 1}

"""
_TIMELINE_CONTENT: dict[str, Any] = {
    **_TEXT_CONTENT,
    "text/event-stream": {"schema": {"type": "string"}, "example": _SSE_EXAMPLE},
}


@router.post(
    "/v1/timeline",
    dependencies=[LimitConcurrency],
    response_model=TimelineAnswer,
    responses={200: {"content": _TIMELINE_CONTENT}, **_ERRORS},
    openapi_extra=_describe_body({**_FORM, "properties": {**_FORM["properties"], "file": _BINARY}}),
    summary="The expressed emotion over the time of a recording",
)
async def timeline(request: Request, query: Annotated[_TimelineQuery, Query()]) -> Response:
    """Find the segments of speech and the emotion that each expresses."""
    state = get_state(request)
    name, model = state.models.model(query.model)
    options = PredictOptions(
        labels=query.labels,
        channels=query.channels,
        vad=query.vad,
        window_s=query.window,
        hop_s=query.hop,
        adapt=query.adapt,
    )
    options = check_options(model, options)  # before the body is read
    async with AsyncExitStack() as stack:
        body = await stack.enter_async_context(_read_request(request))
        if len(body.files) > 1:
            raise Refusal(400, "bad_form", f"got {len(body.files)} files; a timeline is of one")
        options = await _add_profile(state, model, options, query.profile, body.profile)
        steps = predict_upload_timeline(model, body.files[0], options, max_s=state.settings.max_seconds)
        stack.callback(steps.close)  # before its file is closed
        first = await state.models.run(partial(next, steps))  # fails before any answer if there is no audio
        events = _iterate(request, state, first, steps)
        form = query.format or _negotiate(request, "json", "sse")
        if form == "sse":
            return _EventResponse(_format_sse(request, events, windows=query.windows), stack.pop_all())
        found = [each async for each in events]
    if form != "json":
        segments = _list_segments(found, body.files[0].name)
        duration_s = found[-1].duration_s
        return _format_text(form, segments, tuple(options.labels or ()), model.targets, duration_s=duration_s)
    rows = [event for step in found for event in step.events]
    answer: dict[str, Any] = {"model": _identify(name, model)}
    answer["segments"] = [row for kind, row in rows if kind == "segment"]
    if query.windows:
        answer["windows"] = [row for kind, row in rows if kind == "window"]
    return JSONResponse({**answer, "duration_s": round(found[-1].duration_s, 3)})


async def _iterate(
    request: Request,
    state: ServerState,
    first: TimelineEvents,
    steps: Generator[TimelineEvents, None, None],
) -> AsyncIterator[TimelineEvents]:
    """Yield all steps; each waits for its turn in the pool, so that a slow reader occupies no thread."""
    step: TimelineEvents | None = first
    duration_s = 0.0
    while step is not None:
        _count_audio(request, step.duration_s - duration_s)
        duration_s = step.duration_s
        yield step
        await _check_connected(request)
        step = await state.models.run(partial(next, steps, None), admitted=True)


def _list_segments(steps: list[TimelineEvents], file: str | None) -> list[dict[str, Any]]:
    """As ``emovox predict --timeline``; a channel without speech has a row with the reason."""
    rows = [row for step in steps for kind, row in step.events if kind == "segment"]
    with_speech = {row["channel"] for row in rows}
    duration_s = steps[-1].duration_s
    for channel in steps[-1].channels:
        if channel not in with_speech:
            empty = Prediction(None, reason="no_speech", duration_s=duration_s, channel=channel, file=file)
            rows.append(empty.to_dict())
    return rows


async def _format_sse(
    request: Request, steps: AsyncIterator[TimelineEvents], *, windows: bool
) -> AsyncIterator[str]:
    n_segments, duration_s = 0, 0.0
    try:
        async for step in steps:
            duration_s = step.duration_s
            for kind, row in step.events:
                n_segments += kind == "segment"
                if kind == "segment" or windows:
                    yield _format_event(kind, row)
    except Refusal as refusal:
        request.state.code = refusal.code
        yield _format_event("error", error_document(refusal.code, refusal.message))
        return
    yield _format_event("end", {"duration_s": round(duration_s, 3), "n_segments": n_segments})


def _format_event(kind: str, data: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data, allow_nan=False)}\n\n"


class _EventResponse(StreamingResponse):
    """Server-sent events; releases its resources when the response ends, in any way."""

    def __init__(self, events: AsyncIterator[str], resources: AsyncExitStack) -> None:
        headers = {"X-Accel-Buffering": "no"}  # a proxy must not wait for the end
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._resources:
            await super().__call__(scope, receive, send)


# --- explanations ---------------------------------------------------------------------------------


@router.post(
    "/v1/explain",
    dependencies=[LimitConcurrency],
    response_model=ExplainAnswer,
    responses=_ERRORS,
    openapi_extra=_describe_body({**_FORM, "properties": {**_FORM["properties"], "file": _BINARY}}),
    summary="Which seconds and which frequencies of a recording decided",
)
async def explain(request: Request, query: Annotated[_ExplainQuery, Query()]) -> Response:
    """Remove parts of the sound one by one and measure how far the label's log-odds drop; at most 30 s."""
    state = get_state(request)
    name, model = state.models.model(query.model)
    options = PredictOptions(channels=query.channels, vad=query.vad)
    options = check_options(model, options)  # before the body is read
    async with _read_request(request) as body:
        if len(body.files) > 1:
            raise Refusal(400, "bad_form", f"got {len(body.files)} files; an explanation is of one")
        options = await _add_profile(state, model, options, query.profile, body.profile)
        await _check_connected(request)
        work = partial(explain_upload, model, body.files[0], options, query.label)
        found = await state.models.run(work)
    _count_audio(request, found.times_s[-1] - found.times_s[0])
    return JSONResponse({"model": _identify(name, model), "explanation": found.to_dict()})


# --- label files ----------------------------------------------------------------------------------


class _LabelsQuery(BaseModel):
    """The format of a label file."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["srt", "vtt", "textgrid", "eaf", "audacity", "rttm"] = Field(description="What to write.")


@router.post(
    "/v1/labels",
    dependencies=[LimitConcurrency],
    response_class=Response,
    responses={200: {"content": _TEXT_CONTENT}, **_errors(400, 401, 408, 413, 429, 503)},
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": _LABELS_SCHEMA}}}
    },
    summary="Segments as a subtitle or label file",
)
async def labels(request: Request, query: Annotated[_LabelsQuery, Query()]) -> Response:
    """Write the segments of a timeline, or of a live session, in the format of another tool."""
    async with _read_request(request) as body:
        content = body.files[0].file.read()
    try:
        sent = LabelsRequest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        raise Refusal(
            400, "bad_body", f"{place}: {first['msg']}; expected what /v1/timeline answers"
        ) from None
    rows = [{**row.model_dump(), "file": sent.file} for row in sent.segments]
    return _format_text(query.format, rows, (), duration_s=sent.duration_s)


# --- the server -----------------------------------------------------------------------------------


@router.get("/v1/models", response_model=ModelsAnswer, responses=_errors(401, 429), summary="The models")
async def models(request: Request) -> Response:
    """List the models of this server."""
    known = get_state(request).models.models
    rows = [describe_model(name, model.spec) for name, model in known.items()]
    return JSONResponse({"models": rows, "default": rows[0]["name"]})


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **_errors(401, 429)},
    summary="Counters for Prometheus",
)
async def metrics(request: Request) -> Response:
    """Requests, their latency, errors, seconds of audio, what waits."""
    state = get_state(request)
    state.metrics.open.set(state.concurrency.n_active)
    state.metrics.taken.set(state.models.n_active)
    return Response(state.metrics.text(), media_type=CONTENT_TYPE)


@public_router.head("/healthz", include_in_schema=False)
@public_router.get("/healthz", response_model=StateAnswer, summary="Whether the process lives")
async def healthz() -> Response:
    """Always the same, as long as the process answers."""
    return JSONResponse({"status": "ok"})


@public_router.head("/readyz", include_in_schema=False)
@public_router.get(
    "/readyz", response_model=StateAnswer, responses=_errors(503), summary="Whether it accepts work"
)
async def readyz(request: Request) -> Response:
    """Whether the models are loaded and the server is not stopping."""
    if not get_state(request).models.is_ready:
        raise Refusal(503, "draining", "the server is stopping, or not ready yet", retry_after_s=5)
    return JSONResponse({"status": "ready"})


# --- helpers --------------------------------------------------------------------------------------


def _read_request(request: Request) -> AbstractAsyncContextManager[RequestBody]:
    settings = get_state(request).settings
    return read_body(
        request,
        max_bytes=settings.max_upload_bytes,
        max_files=settings.max_files,
        timeout_s=settings.upload_timeout_s,
    )


async def _add_profile(
    state: ServerState, model: Recognizer, options: PredictOptions, name: str | None, sent: bytes | None
) -> PredictOptions:
    """Return ``options`` with the profile that the request contains, or names."""
    if name is not None:
        if sent is not None:
            raise Refusal(400, "bad_profile", "got a profile and the name of one; expected one of them")

        def read_stored() -> bytes:
            with suppress(OSError):
                if state.settings.profiles is not None:  # the name has letters, digits, _ and - only
                    return (state.settings.profiles / f"{name}.json").read_bytes()
            text = f"the server has no profile {name!r}; send one as part 'profile'"
            raise Refusal(400, "unknown_profile", text)

        sent = await state.models.run(read_stored)
    if sent is None:
        return options
    return await state.models.run(partial(check_options, model, options, sent))


async def _check_connected(request: Request) -> None:
    """Do not work for a client that has left."""
    if await request.is_disconnected():
        raise Refusal(499, "gone", "the client disconnected before its answer was ready")


def _identify(name: str, model: Recognizer) -> dict[str, str]:
    return {"name": name, "version": model.spec.version}


def _count_audio(request: Request, seconds: float) -> None:
    get_state(request).metrics.audio_s.inc(seconds)
    request.state.audio_s = round(getattr(request.state, "audio_s", 0.0) + seconds, 3)
