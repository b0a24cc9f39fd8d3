"""The routes for recordings: what was sent is read, judged in the engine, and answered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send

from emovox.inference.options import PredictOptions
from emovox.inference.recognizer import Recognizer
from emovox.results import Prediction, csv_header, csv_line
from emovox.server.answers import TimelineEvents, check_options, predict_upload, predict_upload_timeline
from emovox.server.metrics import CONTENT_TYPE
from emovox.server.schemas import (
    ErrorAnswer,
    ModelsAnswer,
    PredictAnswer,
    Refusal,
    StateAnswer,
    TimelineAnswer,
    error_document,
    model_answer,
)
from emovox.server.service import Admitted, Keyed, Service, service_of
from emovox.server.uploads import Body, received

__all__ = ["along", "healthz", "metrics", "models", "openly", "predict", "readyz", "router"]

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "An argument is wrong, or the body cannot be read"},
    401: {"model": ErrorAnswer, "description": "The API key is missing or wrong"},
    408: {"model": ErrorAnswer, "description": "The body took too long"},
    413: {"model": ErrorAnswer, "description": "Too many bytes, files or seconds"},
    415: {"model": ErrorAnswer, "description": "Not sound that can be read"},
    422: {"model": ErrorAnswer, "description": "Sound that cannot be used"},
    429: {"model": ErrorAnswer, "description": "Too many requests; see Retry-After"},
    500: {"model": ErrorAnswer, "description": "A fault of the server"},
    503: {"model": ErrorAnswer, "description": "Too busy, or stopping; see Retry-After"},
}


def _only(*codes: int) -> dict[int | str, dict[str, Any]]:
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


def _takes(form: dict[str, Any]) -> dict[str, Any]:
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


router = APIRouter(dependencies=[Keyed])
"""What the API key guards."""

openly = APIRouter()
"""What everybody may ask."""


class _Common(BaseModel):
    model_config = ConfigDict(extra="forbid")

    labels: str | None = Field(
        None, max_length=500, description="Decide among these only.", examples=["angry,happy,neutral,sad"]
    )
    channels: str = Field(
        "mix",
        pattern=r"^(mix|each|[0-9]{1,2})$",
        description="The mean of all, each apart, or the number of one, from 0.",
    )
    vad: Literal["on", "off"] = Field("on", description="Voice activity detection.")
    model: str | None = Field(None, max_length=300, description="One of `/v1/models`.", examples=["default"])
    profile: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_-]{1,64}$", description="A voice profile that the server keeps."
    )


_SSE = """event: segment
data: {"file": null, "start_s": 0.4, "end_s": 4.4, "label": "happy", "confidence": 0.71, "scores": {}}

event: end
data: {"duration_s": 18.2, "n_segments": 1}

"""

_ALONG: dict[str, Any] = {
    "text/csv": {"schema": {"type": "string"}},
    "text/event-stream": {"schema": {"type": "string"}, "example": _SSE},
}


class _PredictQuery(_Common):
    """How a recording is judged."""


class _TimelineQuery(_Common):
    """How a recording is judged along its time."""

    format: Literal["json", "csv", "sse"] = Field("json", description="`sse`: events, while it is computed.")
    window: float | None = Field(None, gt=0, le=3600, description="Seconds that are judged at once.")
    hop: float | None = Field(None, gt=0, le=3600, description="Seconds from one window to the next.")
    windows: bool = Field(False, description="Give the scores of every window, too (not with csv).")


# ------------------------------------------------------------------------------------ whole recordings


@router.post(
    "/v1/predict",
    dependencies=[Admitted],
    response_model=PredictAnswer,
    responses=_ERRORS,
    openapi_extra=_takes(_FORM),
    summary="The expressed emotion of recordings",
)
async def predict(request: Request, query: Annotated[_PredictQuery, Query()]) -> Response:
    """Judge one recording or several. Of several, one that fails is a row with its error."""
    service = service_of(request)
    name, model, asked = _asked(service, query)
    async with _received(request) as body:
        asked = await _told(service, model, asked, query.profile, body.profile)
        rows: list[dict[str, Any]] = []
        for upload in body.files:
            await _go_on(request)
            work = partial(predict_upload, model, upload, asked)
            try:
                found = await service.engine.run(work, begun=bool(rows))
            except Refusal as refusal:
                if len(body.files) == 1 or refusal.status == 503:
                    raise
                rows.append({"file": upload.name, "error": refusal.message})
                continue
            _judged(request, sum(each.duration_s or 0.0 for each in found[:1]))
            rows += [each.to_dict() for each in found]
    return JSONResponse({"model": _named(name, model), "predictions": rows})


# ------------------------------------------------------------------------------------ along the time


@router.post(
    "/v1/timeline",
    dependencies=[Admitted],
    response_model=TimelineAnswer,
    responses={200: {"content": _ALONG}, **_ERRORS},
    openapi_extra=_takes({**_FORM, "properties": {**_FORM["properties"], "file": _BINARY}}),
    summary="The expressed emotion along a recording",
)
async def along(request: Request, query: Annotated[_TimelineQuery, Query()]) -> Response:
    """Find the stretches of speech and what each expresses."""
    service = service_of(request)
    name, model, asked = _asked(service, query)
    async with AsyncExitStack() as stack:
        body = await stack.enter_async_context(_received(request))
        if len(body.files) > 1:
            raise Refusal(400, "bad_form", f"got {len(body.files)} files; a timeline is of one")
        asked = await _told(service, model, asked, query.profile, body.profile)
        steps = predict_upload_timeline(model, body.files[0], asked, max_s=service.settings.max_seconds)
        stack.callback(steps.close)  # before its file is closed
        first = await service.engine.run(partial(next, steps))  # no sound? said before any answer
        heard = _heard(request, service, first, steps)
        if query.format == "sse":
            return _Events(_sse(request, heard, windows=query.windows), stack.pop_all())
        events = [each async for each in heard]
    if query.format == "csv":
        return Response(_csv(events, tuple(asked.labels or ()), body.files[0].name), media_type="text/csv")
    answer = {"model": _named(name, model), **_collected(events, windows=query.windows)}
    return JSONResponse(answer)


async def _heard(
    request: Request, service: Service, first: TimelineEvents, steps: Generator[TimelineEvents, None, None]
) -> AsyncIterator[TimelineEvents]:
    """All steps; each takes its turn in the engine, so a slow reader keeps no thread."""
    step: TimelineEvents | None = first
    duration_s = 0.0
    while step is not None:
        _judged(request, step.duration_s - duration_s)
        duration_s = step.duration_s
        yield step
        await _go_on(request)
        step = await service.engine.run(partial(next, steps, None), begun=True)


def _collected(heard: list[TimelineEvents], *, windows: bool) -> dict[str, Any]:
    events = [event for step in heard for event in step.events]
    answer: dict[str, Any] = {"segments": [row for kind, row in events if kind == "segment"]}
    if windows:
        answer["windows"] = [row for kind, row in events if kind == "window"]
    return {**answer, "duration_s": round(heard[-1].duration_s, 3)}


def _csv(heard: list[TimelineEvents], labels: tuple[str, ...], file: str | None) -> str:
    """As ``emovox predict --timeline --format csv`` writes it; where nobody speaks a row says so."""
    rows = [row for step in heard for kind, row in step.events if kind == "segment"]
    spoken = {row["channel"] for row in rows}
    for channel in heard[-1].channels:
        if channel not in spoken:
            duration_s = heard[-1].duration_s
            nobody = Prediction(None, reason="no_speech", duration_s=duration_s, channel=channel, file=file)
            rows.append(nobody.to_dict())
    return csv_header(labels) + "".join(csv_line(row, labels) for row in rows)


async def _sse(
    request: Request, heard: AsyncIterator[TimelineEvents], *, windows: bool
) -> AsyncIterator[str]:
    n_segments, duration_s = 0, 0.0
    try:
        async for step in heard:
            duration_s = step.duration_s
            for kind, row in step.events:
                n_segments += kind == "segment"
                if kind == "segment" or windows:
                    yield _event(kind, row)
    except Refusal as refusal:
        request.state.code = refusal.code
        yield _event("error", error_document(refusal.code, refusal.message))
        return
    yield _event("end", {"duration_s": round(duration_s, 3), "n_segments": n_segments})


def _event(kind: str, data: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data, allow_nan=False)}\n\n"


class _Events(StreamingResponse):
    """Server-sent events; what they are made of is let go when they end, however they do."""

    def __init__(self, events: AsyncIterator[str], held: AsyncExitStack) -> None:
        headers = {"X-Accel-Buffering": "no"}  # a proxy must not wait for the end
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await super().__call__(scope, receive, send)


# ------------------------------------------------------------------------------------ what there is


@router.get("/v1/models", response_model=ModelsAnswer, responses=_only(401, 429), summary="The models")
async def models(request: Request) -> Response:
    """What this server can be asked, and what is known of its models."""
    known = service_of(request).engine.models
    rows = [model_answer(name, model.spec) for name, model in known.items()]
    return JSONResponse({"models": rows, "default": rows[0]["name"]})


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **_only(401, 429)},
    summary="Counters for Prometheus",
)
async def metrics(request: Request) -> Response:
    """Requests, their latency, errors, seconds of sound, what waits."""
    service = service_of(request)
    service.metrics.open.set(service.room.taken)
    service.metrics.taken.set(service.engine.taken)
    return Response(service.metrics.text(), media_type=CONTENT_TYPE)


@openly.get("/healthz", response_model=StateAnswer, summary="Whether the process lives")
async def healthz() -> Response:
    """Always the same, as long as there is an answer at all."""
    return JSONResponse({"status": "ok"})


@openly.get("/readyz", response_model=StateAnswer, responses=_only(503), summary="Whether it takes work")
async def readyz(request: Request) -> Response:
    """Whether the models are open and the server is not stopping."""
    if not service_of(request).engine.is_ready:
        raise Refusal(503, "draining", "the server is stopping, or not ready yet", retry_after_s=5)
    return JSONResponse({"status": "ready"})


# ------------------------------------------------------------------------------------ helpers


def _received(request: Request) -> AbstractAsyncContextManager[Body]:
    settings = service_of(request).settings
    return received(
        request,
        max_bytes=settings.max_upload_bytes,
        max_files=settings.max_files,
        timeout_s=settings.upload_timeout_s,
    )


def _asked(service: Service, query: _Common) -> tuple[str, Recognizer, PredictOptions]:
    """Which model, and what of it: refused before the body is read when it cannot be."""
    name, model = service.engine.model(query.model)
    asked = PredictOptions(labels=query.labels, channels=query.channels, vad=query.vad)
    if isinstance(query, _TimelineQuery):
        asked = replace(asked, window_s=query.window, hop_s=query.hop)
    return name, model, check_options(model, asked)


async def _told(
    service: Service, model: Recognizer, asked: PredictOptions, kept: str | None, sent: bytes | None
) -> PredictOptions:
    """``asked`` with the profile that the request brought, or named."""
    if kept is not None:
        if sent is not None:
            raise Refusal(400, "bad_profile", "got a profile and the name of one; expected one of them")
        sent = await service.engine.run(partial(_kept, service.settings.profiles, kept))
    return asked if sent is None else await service.engine.run(partial(check_options, model, asked, sent))


def _kept(folder: Path | None, name: str) -> bytes:
    """A profile that the operator put there; ``name`` has letters, digits, ``_`` and ``-`` only."""
    try:
        if folder is not None:
            return (folder / f"{name}.json").read_bytes()
    except OSError:
        pass
    raise Refusal(400, "unknown_profile", f"the server keeps no profile {name!r}; send one as part 'profile'")


async def _go_on(request: Request) -> None:
    """Refuse to work for a client that has left."""
    if await request.is_disconnected():
        raise Refusal(499, "gone", "the client went away before its answer was there")


def _named(name: str, model: Recognizer) -> dict[str, str]:
    return {"name": name, "version": model.spec.version}


def _judged(request: Request, seconds: float) -> None:
    """Count sound that was judged."""
    service_of(request).metrics.audio_s.inc(seconds)
    request.state.audio_s = round(getattr(request.state, "audio_s", 0.0) + seconds, 3)
