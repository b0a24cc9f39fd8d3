"""What the routes of one server share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import Depends, Request, Security, params
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.requests import HTTPConnection

from emovox.server.engine import Engine
from emovox.server.limits import Rates, Room, check_key, client_of
from emovox.server.metrics import Metrics
from emovox.server.settings import Settings

__all__ = ["Admitted", "Keyed", "Service", "service_of"]


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a server, as `create_app` joined them."""

    settings: Settings
    engine: Engine
    rates: Rates
    room: Room
    metrics: Metrics


def service_of(connection: HTTPConnection) -> Service:
    """The service that a request or a WebSocket came to."""
    service: Service = connection.app.state.service
    return service


_KEY = (
    Security(HTTPBearer(auto_error=False, scheme_name="bearer", description="The server's API key.")),
    Security(APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="key")),
)


async def _keyed(request: Request, _bearer: object = _KEY[0], _header: object = _KEY[1]) -> None:
    """Refuse who asks too often, and then who has no key: so a key cannot be guessed quickly either."""
    service = service_of(request)
    service.rates.take(client_of(request.client.host if request.client else None))
    check_key(service.settings.api_key, request.headers)


async def _admitted(request: Request) -> AsyncIterator[None]:
    """Take a place in the room until the answer is out."""
    with service_of(request).room:
        yield


Keyed: params.Depends = Depends(_keyed)
"""For every route that the API key guards."""

Admitted: params.Depends = Depends(_admitted)
"""For routes that take sound."""
