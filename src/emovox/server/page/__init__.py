"""The page that people open: its files, as they lie here, under headers that allow nothing from elsewhere.

A file is served only when it is in `FILES`: no path that a client sends ever reaches the disk.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

from emovox import disclaimer

__all__ = ["FILES", "HEADERS", "content", "router"]

_SCRIPT = "text/javascript; charset=utf-8"

FILES: Mapping[str, str] = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
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
            *("readout.js", "scene.js", "server.js", "sound.js", "tables.js", "take.js", "worklet.js"),
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


def content(name: str) -> bytes:
    """A file of the page; ``index.html`` with the words of `emovox.disclaimer` in their places."""
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    if name == "index.html":
        for word in ("NOTICE", "LIMITS", "TO_TELL"):
            text = text.replace("{{" + word + "}}", html.escape(getattr(disclaimer, word)))
    return text.encode()


def router() -> APIRouter:
    """``/`` and ``/page/*``. The files are read now, and again for no request."""
    routes = APIRouter(include_in_schema=False)
    bodies = {name: content(name) for name in FILES}
    stamps = {name: f'"{hashlib.sha256(body).hexdigest()[:16]}"' for name, body in bodies.items()}

    def answer(name: str, request: Request) -> Response:
        headers = {**HEADERS, "ETag": stamps[name]}
        if request.headers.get("if-none-match") == stamps[name]:
            return Response(status_code=304, headers=headers)
        return Response(bodies[name], media_type=FILES[name], headers=headers)

    @routes.get("/")
    async def index(request: Request) -> Response:
        return answer("index.html", request)

    @routes.get("/page/{name}")
    async def file(name: str, request: Request) -> Response:
        if name not in FILES:
            raise HTTPException(404)
        return answer(name, request)

    return routes
