"""Assemble the ASGI application of the server."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

import emovox
from emovox.disclaimer import NOTICE
from emovox.errors import EmovoxError, did_you_mean
from emovox.inference.recognizer import Recognizer
from emovox.inference.recognizer import load as load_model
from emovox.server import page, routes, websocket
from emovox.server.limits import ConcurrencyLimit, RateLimit, ServerState
from emovox.server.model_pool import ModelFactory, ModelPool
from emovox.server.monitoring import Metrics, RepeatedArguments, RequestMonitor, log_event
from emovox.server.schemas import Refusal, error_document, make_refusal
from emovox.server.session import SessionLimits
from emovox.server.settings import ServerSettings
from emovox.server.webhooks import make_sender

__all__ = ["create_app", "make_factory"]


def make_factory(settings: ServerSettings) -> ModelFactory:
    """Return a function that loads models by name, within the limits of ``settings``."""
    return partial(_load, max_s=settings.max_seconds)


def _load(name: str, *, max_s: float) -> Recognizer:
    return load_model(name, max_s=max_s)


def create_app(settings: ServerSettings, factory: ModelFactory | None = None) -> FastAPI:
    """Create the server as an ASGI application. Models are loaded when it starts.

    Args:
        settings: set by the operator.
        factory: from a model's name to a recogniser, picklable; default: `emovox.load`.
    """
    models = ModelPool(
        settings.models, factory or make_factory(settings), threads=settings.threads, queue=settings.queue
    )
    sessions = websocket.SessionPool(
        threads=settings.threads,
        max_sessions=settings.max_streams,
        limits=SessionLimits(idle_s=settings.stream_idle_s, longest_s=settings.max_stream_s),
    )
    metrics = Metrics()
    webhooks = make_sender(settings, metrics.count_webhook)
    state = ServerState(
        settings, models, RateLimit(settings.rate), ConcurrencyLimit(settings.max_open), metrics, webhooks
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        models.open()
        sessions.open()
        if webhooks is not None:
            webhooks.open()
        log_event("ready", models=list(settings.models))
        try:
            yield
        finally:
            sessions.close()
            if webhooks is not None:
                webhooks.close()
            models.close()

    app = FastAPI(
        title="emovox",
        version=emovox.__version__,
        summary="The expressed emotion of recordings and live speech",
        description=NOTICE,
        lifespan=lifespan,
        docs_url=None,  # those pages load scripts from a third party
        redoc_url=None,
    )
    app.state.shared, app.state.sessions = state, sessions
    app.include_router(routes.public_router)
    app.include_router(routes.router)
    app.include_router(websocket.router)
    app.include_router(page.make_router())
    app.add_exception_handler(Refusal, _answer_refusal)
    app.add_exception_handler(EmovoxError, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid_arguments)
    app.add_exception_handler(HTTPException, _answer_unknown_route)
    app.add_middleware(RepeatedArguments)
    app.add_middleware(RequestMonitor, metrics=state.metrics)  # the last one added is the outermost
    return app


# --- errors ---------------------------------------------------------------------------------------


def _answer(
    request: Request, status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> Response:
    request.state.code = code
    return JSONResponse(error_document(code, message), status, headers)


async def _answer_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _answer(request, error.status, error.code, error.message, headers)


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, EmovoxError)
    return await _answer_refusal(request, make_refusal(error))


async def _answer_invalid_arguments(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    text = "; ".join(_describe_invalid(request, each) for each in error.errors()[:5])
    return _answer(request, 400, "bad_argument", text)


def _describe_invalid(request: Request, found: dict[str, Any]) -> str:
    *_, name = map(str, found["loc"])
    if found["type"] != "extra_forbidden":
        reason = str(found["msg"]).removeprefix("Value error, ")  # pydantic's words
        return f"{name[:80]} is {str(found.get('input'))[:80]!r}: {reason}"
    dependant = getattr(request.scope.get("route"), "dependant", None)
    fields = dependant.query_params[0].field_info.annotation.model_fields if dependant else {}
    return f"no argument {name[:80]!r}; {did_you_mean(name, fields)}"


async def _answer_unknown_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = {
        404: ("not_found", "there is nothing here; see /openapi.json"),
        405: ("bad_method", "this method is not allowed; see the header Allow"),
    }
    code, text = known.get(error.status_code, ("refused", str(error.detail)))
    return _answer(request, error.status_code, code, text, dict(error.headers or {}))
