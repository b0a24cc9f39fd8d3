"""Who may ask, and how often: the API key, compared in constant time, and a token bucket a client."""

from __future__ import annotations

import hmac
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from emovox.server.schemas import Refusal

__all__ = ["MAX_CLIENTS", "Rates", "Room", "check_key", "client_of"]

MAX_CLIENTS = 10_000
"""Buckets kept; the client heard of longest ago is forgotten, and begins with a full one."""


def check_key(expected: str | None, headers: Mapping[str, str], given: str | None = None) -> None:
    """Compare the API key that a request presents with the one that is asked for.

    Args:
        expected: the server's; ``None`` asks for none.
        headers: ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``.
        given: a key that came another way, such as in the first frame of a WebSocket.

    Raises:
        Refusal: 401, there is none, or another.
    """
    if expected is None:
        return
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    presented = given or headers.get("x-api-key") or (bearer.strip() if scheme.lower() == "bearer" else "")
    if not hmac.compare_digest(presented.encode(errors="replace"), expected.encode()):
        what = "the API key is wrong" if presented else "an API key is needed"
        how = "send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
        raise Refusal(401, "unauthorized", f"{what}; {how}")


def client_of(host: str | None) -> str:
    """What counts as one client: an IPv4 address, or the /64 that an IPv6 subscriber has at least."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


class Rates:
    """A token bucket for each client: so many requests a minute, and as many at once.

    Args:
        rate: requests a minute; ``None``: no limit.
        clock: seconds, ever rising.
    """

    def __init__(self, rate: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = None if rate is None else rate / 60
        self._full = 1.0 if rate is None else max(1.0, rate)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Client -> (tokens, when they were counted)."""

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str) -> None:
        """Count one request of ``client``.

        Raises:
            Refusal: 429, with the time when the next one is welcome.
        """
        if self._per_s is None:
            return
        now_s = self._clock()
        tokens, then_s = self._buckets.pop(client, (self._full, now_s))
        tokens = min(self._full, tokens + (now_s - then_s) * self._per_s)
        enough = tokens >= 1
        self._buckets[client] = (tokens - 1 if enough else tokens, now_s)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        if not enough:
            wait_s = math.ceil((1 - tokens) / self._per_s)
            raise Refusal(
                429,
                "too_many_requests",
                f"more than {self._per_s * 60:g} requests a minute; the next is welcome in {wait_s} s",
                retry_after_s=wait_s,
            )


class Room:
    """How many may be inside at once: ``with room: ...``; one more is refused with 503."""

    def __init__(self, places: int) -> None:
        self._places = places
        self.taken = 0

    def __enter__(self) -> None:
        if self.taken >= self._places:
            raise Refusal(
                503,
                "overloaded",
                f"{self._places} requests are open already; ask again in a moment",
                retry_after_s=1,
            )
        self.taken += 1

    def __exit__(self, *_: object) -> None:
        self.taken -= 1
