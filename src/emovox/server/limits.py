"""Access control: API key, requests per minute and client, concurrent requests; as FastAPI dependencies."""

from __future__ import annotations

import hmac
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from fastapi import Depends, Request, Security, params
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.requests import HTTPConnection

from emovox.server.model_pool import ModelPool
from emovox.server.monitoring import Metrics
from emovox.server.schemas import Refusal
from emovox.server.settings import ServerSettings
from emovox.server.webhooks import WebhookSender

__all__ = [
    "MAX_CLIENTS",
    "ConcurrencyLimit",
    "LimitConcurrency",
    "RateLimit",
    "RequireKey",
    "ServerState",
    "check_key",
    "get_state",
    "identify_client",
]

MAX_CLIENTS = 10_000
"""Buckets kept; the least recently seen client is dropped, and starts again with a full one."""

# Of a token: a client that waits as long as it was asked to is accepted, however its time was rounded.
_ROUNDING = 1e-7


def check_key(expected: str | None, headers: Mapping[str, str], given: str | None = None) -> None:
    """Compare the API key of a request with the server's, in constant time.

    Args:
        expected: the server's; ``None`` if none is needed.
        headers: ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``.
        given: a key sent another way, such as in the first frame of a WebSocket.

    Raises:
        Refusal: 401, the key is missing or wrong.
    """
    if expected is None:
        return
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    presented = given or headers.get("x-api-key") or (bearer.strip() if scheme.lower() == "bearer" else "")
    if not hmac.compare_digest(presented.encode(errors="replace"), expected.encode()):
        what = "the API key is wrong" if presented else "an API key is needed"
        how = "send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
        raise Refusal(401, "unauthorized", f"{what}; {how}")


def identify_client(host: str | None) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


class RateLimit:
    """A token bucket per client: so many requests per minute, and as many at once.

    Args:
        rate: requests per minute; ``None``: no limit.
        clock: monotonic seconds.
    """

    def __init__(self, rate: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = None if rate is None else rate / 60
        self._full = 1.0 if rate is None else max(1.0, rate)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Client -> (tokens, time of the count)."""

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str) -> None:
        """Count a request of ``client``.

        Raises:
            Refusal: 429, with the time until the next one is accepted.
        """
        if self._per_s is None:
            return
        now_s = self._clock()
        tokens, then_s = self._buckets.pop(client, (self._full, now_s))
        tokens = min(self._full, tokens + (now_s - then_s) * self._per_s)
        enough = tokens >= 1 - _ROUNDING
        self._buckets[client] = (tokens - 1 if enough else tokens, now_s)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        if not enough:
            wait_s = math.ceil((1 - tokens) / self._per_s)
            raise Refusal(
                429,
                "too_many_requests",
                f"more than {self._per_s * 60:g} requests a minute; the next is accepted in {wait_s} s",
                retry_after_s=wait_s,
            )


class ConcurrencyLimit:
    """A limit for concurrent requests: ``with limit: ...`` raises Refusal (503) above it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.n_active = 0

    def __enter__(self) -> None:
        if self.n_active >= self._limit:
            raise Refusal(
                503,
                "overloaded",
                f"{self._limit} requests are open already; ask again in a moment",
                retry_after_s=1,
            )
        self.n_active += 1

    def __exit__(self, *_: object) -> None:
        self.n_active -= 1


@dataclass(frozen=True, slots=True)
class ServerState:
    """What the routes of a server share; made by `create_app`."""

    settings: ServerSettings
    models: ModelPool
    rate: RateLimit
    concurrency: ConcurrencyLimit
    metrics: Metrics
    webhooks: WebhookSender | None = None
    """``None``: the operator lists no host."""


def get_state(connection: HTTPConnection) -> ServerState:
    """Return the state of the server that a request or a WebSocket came to."""
    state: ServerState = connection.app.state.shared
    return state


_KEY_SCHEMES = (
    Security(HTTPBearer(auto_error=False, scheme_name="bearer", description="The server's API key.")),
    Security(APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="key")),
)


async def _require_key(
    request: Request, _bearer: object = _KEY_SCHEMES[0], _header: object = _KEY_SCHEMES[1]
) -> None:
    """Check the rate before the key, so that keys cannot be guessed quickly."""
    state = get_state(request)
    state.rate.take(identify_client(request.client.host if request.client else None))
    check_key(state.settings.api_key, request.headers)


async def _limit_concurrency(request: Request) -> AsyncIterator[None]:
    """Count a request as active until its answer is sent."""
    with get_state(request).concurrency:
        yield


RequireKey: params.Depends = Depends(_require_key)
"""Dependency of every route that requires the API key."""

LimitConcurrency: params.Depends = Depends(_limit_concurrency)
"""Dependency of routes that accept audio."""
