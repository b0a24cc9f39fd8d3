"""The HTTP routes: a recording is read, processed in the model pool, and answered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send

from emovox.inference.options import PredictOptions
from emovox.inference.recognizer import Recognizer
from emovox.results import Prediction, csv_header, csv_line
from emovox.server.answers import TimelineEvents, check_options, predict_upload, predict_upload_timeline
from emovox.server.limits import LimitConcurrency, RequireKey, ServerState, get_state
from emovox.server.monitoring import CONTENT_TYPE
from emovox.server.schemas import (
    ErrorAnswer,
    ModelsAnswer,
    PredictAnswer,
    Refusal,
    StateAnswer,
    TimelineAnswer,
    describe_model,
    error_document,
)
from emovox.server.uploads import RequestBody, read_body

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


class _TimelineQuery(_PredictQuery):
    """Options of a timeline."""

    format: Literal["json", "csv", "sse"] = Field("json", description="`sse`: events, while it is computed.")
    window: float | None = Field(None, gt=0, le=3600, description="Length of a window in seconds.")
    hop: float | None = Field(None, gt=0, le=3600, description="Seconds from one window to the next.")
    windows: bool = Field(False, description="Also return the scores of every window (not with csv).")
    adapt: bool = Field(False, description="Adapt the model to each channel as it goes, if it can.")


# --- predictions ----------------------------------------------------------------------------------


@router.post(
    "/v1/predict",
    dependencies=[LimitConcurrency],
    response_model=PredictAnswer,
    responses=_ERRORS,
    openapi_extra=_describe_body(_FORM),
    summary="The expressed emotion of recordings",
)
async def predict(request: Request, query: Annotated[_PredictQuery, Query()]) -> Response:
    """Predict one recording or several. Of several, one that fails is a row with its error."""
    state = get_state(request)
    name, model = state.models.model(query.model)
    options = PredictOptions(labels=query.labels, channels=query.channels, vad=query.vad)
    options = check_options(model, options)  # before the body is read
    async with _read_request(request) as body:
        options = await _add_profile(state, model, options, query.profile, body.profile)
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


# --- timelines ------------------------------------------------------------------------------------

_SSE_EXAMPLE = """event: segment
data: {"file": null, "start_s": 0.4, "end_s": 4.4, "label": "happy", "confidence": 0.71, "scores": {}}

event: end
data: {"duration_s": 18.2, "n_segments": 1}

"""
_TIMELINE_CONTENT: dict[str, Any] = {
    "text/csv": {"schema": {"type": "string"}},
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
        if query.format == "sse":
            return _EventResponse(_format_sse(request, events, windows=query.windows), stack.pop_all())
        found = [each async for each in events]
    if query.format == "csv":
        labels = tuple(options.labels or ())
        return Response(_format_csv(found, labels, body.files[0].name), media_type="text/csv")
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


def _format_csv(steps: list[TimelineEvents], labels: tuple[str, ...], file: str | None) -> str:
    """As ``emovox predict --timeline --format csv``; a channel without speech has a row that says so."""
    rows = [row for step in steps for kind, row in step.events if kind == "segment"]
    with_speech = {row["channel"] for row in rows}
    duration_s = steps[-1].duration_s
    for channel in steps[-1].channels:
        if channel not in with_speech:
            empty = Prediction(None, reason="no_speech", duration_s=duration_s, channel=channel, file=file)
            rows.append(empty.to_dict())
    return csv_header(labels) + "".join(csv_line(row, labels) for row in rows)


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
