"""The parts of a server, joined."""

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
from emovox.server import http, logs, page, socket
from emovox.server.engine import Engine, Factory
from emovox.server.limits import Rates, Room
from emovox.server.metrics import Metrics
from emovox.server.schemas import Refusal, error_document, refusal_for
from emovox.server.service import Service
from emovox.server.session import Limits
from emovox.server.settings import Settings
from emovox.server.watch import Watch

__all__ = ["create_app", "factory_for"]


def factory_for(settings: Settings) -> Factory:
    """What opens the models of `emovox.load` by name, within the limits of ``settings``."""
    return partial(_opened, max_s=settings.max_seconds)


def create_app(settings: Settings, factory: Factory | None = None) -> FastAPI:
    """A server as an ASGI application. The models are opened when it starts.

    Args:
        settings: what the operator decides.
        factory: from a model's name to a recogniser, picklable; `emovox.load` when not given.
    """
    engine = Engine(
        settings.models, factory or factory_for(settings), threads=settings.threads, queue=settings.queue
    )
    service = Service(settings, engine, Rates(settings.rate), Room(settings.max_open), Metrics())
    live = socket.Live(
        threads=settings.threads,
        places=settings.max_streams,
        limits=Limits(idle_s=settings.stream_idle_s, longest_s=settings.max_stream_s),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        engine.open()
        live.open()
        logs.note("ready", models=list(settings.models))
        try:
            yield
        finally:
            live.close()
            engine.close()

    app = FastAPI(
        title="emovox",
        version=emovox.__version__,
        summary="The expressed emotion of recordings and live voices",
        description=NOTICE,
        lifespan=lifespan,
        docs_url=None,  # those pages load scripts from a third party
        redoc_url=None,
    )
    app.state.service, app.state.live = service, live
    app.include_router(http.openly)
    app.include_router(http.router)
    app.include_router(socket.router)
    app.include_router(page.router())
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(EmovoxError, _erred)
    app.add_exception_handler(RequestValidationError, _mistyped)
    app.add_exception_handler(HTTPException, _routed_nowhere)
    app.add_middleware(Watch, metrics=service.metrics)
    return app


def _opened(name: str, *, max_s: float) -> Recognizer:
    return load_model(name, max_s=max_s)


# ------------------------------------------------------------------------------------ errors


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _answer(request, error.status, error.code, error.message, headers)


async def _erred(request: Request, error: Exception) -> Response:
    assert isinstance(error, EmovoxError)
    return await _refused(request, refusal_for(error))


async def _mistyped(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    text = "; ".join(_complaint(request, each) for each in error.errors()[:5])
    return _answer(request, 400, "bad_argument", text)


def _complaint(request: Request, found: dict[str, Any]) -> str:
    """What was got, what was expected; for a misspelt name, the nearest."""
    *_, name = map(str, found["loc"])
    if found["type"] != "extra_forbidden":
        reason = str(found["msg"]).removeprefix("Value error, ")  # pydantic's words
        return f"{name[:80]} is {str(found.get('input'))[:80]!r}: {reason}"
    dependant = getattr(request.scope.get("route"), "dependant", None)
    fields = dependant.query_params[0].field_info.annotation.model_fields if dependant else {}
    return f"no argument {name[:80]!r}; {did_you_mean(name, fields)}"


_NOWHERE = {
    404: ("not_found", "there is nothing here; see /openapi.json"),
    405: ("bad_method", "not this method; see the header Allow"),
}


async def _routed_nowhere(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, text = _NOWHERE.get(error.status_code, ("refused", str(error.detail)))
    return _answer(request, error.status_code, code, text, dict(error.headers or {}))


def _answer(
    request: Request, status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> Response:
    request.state.code = code
    return JSONResponse(error_document(code, message), status, headers)
