"""The page for browsers: its files, and headers that allow nothing from other servers.

Only files in `FILES` are served: no path that a client sends is ever used to open a file.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

from emovox import disclaimer

__all__ = ["FILES", "HEADERS", "make_router", "read_file"]

_SCRIPT = "text/javascript; charset=utf-8"

FILES: Mapping[str, str] = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "sample.opus": "audio/ogg",
    **dict.fromkeys(
        (
            *(
                "answer.js",
                "app.js",
                "drawings.js",
                "emotions.js",
                "microphone.js",
                "notices.js",
                "options.js",
            ),
            *("readout.js", "scene.js", "server.js", "sound.js", "spectrogram.js", "tables.js", "take.js"),
            "worklet.js",
        ),
        _SCRIPT,
    ),
}
"""File -> media type."""

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
"""Sent with every file: no inline script or style, nothing from another server, no frame around it."""


def read_file(name: str) -> bytes:
    """Return a file of the page; ``index.html`` with the texts of `emovox.disclaimer` filled in."""
    body = (Path(__file__).parent / name).read_bytes()
    if name == "index.html":
        for name_ in ("NOTICE", "LIMITS", "TO_TELL"):
            text = html.escape(getattr(disclaimer, name_))
            body = body.replace(("{{" + name_ + "}}").encode(), text.encode())
    return body


def make_router() -> APIRouter:
    """Return the routes ``/`` and ``/page/*``. The files are read once, now."""
    routes = APIRouter(include_in_schema=False)
    bodies = {name: read_file(name) for name in FILES}
    etags = {name: f'"{hashlib.sha256(body).hexdigest()[:16]}"' for name, body in bodies.items()}

    def answer(name: str, request: Request) -> Response:
        headers = {**HEADERS, "ETag": etags[name]}
        if request.headers.get("if-none-match") == etags[name]:
            return Response(status_code=304, headers=headers)
        return Response(bodies[name], media_type=FILES[name], headers=headers)

    @routes.head("/")
    @routes.get("/")
    async def index(request: Request) -> Response:
        return answer("index.html", request)

    @routes.get("/page/{name}")
    async def file(name: str, request: Request) -> Response:
        if name not in FILES:
            raise HTTPException(404)
        return answer(name, request)

    return routes
