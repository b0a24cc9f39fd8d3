"""Webhooks: events of live sessions, sent to hosts that the operator lists.

A request is signed as in https://www.standardwebhooks.com: the header ``webhook-signature`` is ``v1,`` and
the base64 of the HMAC-SHA256 of ``{webhook-id}.{webhook-timestamp}.{body}``.

A client may name the URL, so it is not trusted: its host must be listed, its name is resolved once, private
addresses are refused unless they are listed too, the connection goes to the address that was checked, and
redirects are not followed.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import json
import queue
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import httpx

from emovox.errors import ConfigError
from emovox.server.monitoring import log_event
from emovox.server.schemas import Refusal
from emovox.server.settings import ServerSettings

__all__ = ["HostList", "WebhookSender", "make_sender", "sign"]

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_WAITING = 256
"""Events that wait in a process; further ones are dropped and counted."""

N_THREADS = 2
TIMEOUT_S = 5.0
RETRY_WAITS_S = (1.0, 4.0)
"""Before the second and the third attempt, after a failure that may pass."""

_PORTS = {"https": 443, "http": 80}
# Translates to any IPv4 address, private ones too.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class HostList:
    """Hosts that the operator lists.

    Args:
        entries: ``HOST`` or ``HOST:PORT``, a private address such as ``10.0.0.5`` or ``[::1]:8080``, or a
            network of private addresses that listed hosts may have, such as ``10.0.0.0/8``.

    Raises:
        ConfigError: an entry is none of these.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self._hosts: set[tuple[str, int | None]] = set()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for entry in entries:
            try:
                if "/" in entry:
                    self._networks.append(ipaddress.ip_network(entry))
                    continue
                is_bare_ipv6 = entry.count(":") > 1 and not entry.startswith("[")
                parts = httpx.URL(f"https://[{entry}]" if is_bare_ipv6 else f"https://{entry}")
                rest = parts.userinfo or parts.path != "/" or parts.query or parts.fragment
                if rest or not re.fullmatch(rb"[\w.-]+|[\da-f:.]+", parts.raw_host):
                    raise ValueError
            except (ValueError, httpx.InvalidURL):
                raise ConfigError(
                    f"the webhook host {entry!r} cannot be read; expected HOST, HOST:PORT, an address, or a "
                    "network such as 10.0.0.0/8"
                ) from None
            self._hosts.add((_normalize(parts.host), parts.port))
            if (address := _parse_address(parts.host)) is not None:
                self._networks.append(ipaddress.ip_network(address))

    def check(self, text: str) -> httpx.URL:
        """Return a URL whose host is listed. An entry without a port means the port of the scheme.

        Raises:
            Refusal: it is not, or it is no URL of http or https.
        """
        try:
            url = httpx.URL(text)
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme not in _PORTS or not url.host or url.userinfo or url.fragment:
            raise Refusal(400, "bad_argument", "webhook: expected a URL such as https://example.org/hook")
        if (_normalize(url.host), url.port) not in self._hosts:
            where = url.host if url.port is None else f"{url.host}:{url.port}"
            raise Refusal(
                400,
                "bad_argument",
                f"webhook: the operator of this server does not list the host {where[:100]!r}",
            )
        return url

    def resolve(self, url: httpx.URL) -> str:
        """Return an address of the host, if all that it has may be connected to.

        Raises:
            PermissionError: one is private and not listed, or plain http would go over the internet.
            OSError: the name has no address.
        """
        port = url.port or _PORTS[url.scheme]
        found = socket.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]
        for address in addresses:
            mapped = getattr(address, "ipv4_mapped", None) or address
            if any(mapped in network or address in network for network in self._networks):
                continue
            if not mapped.is_global or mapped.is_multicast or (address.version == 6 and address in _NAT64):
                raise PermissionError("the host has a private address, which is not listed")
            if url.scheme == "http":
                raise PermissionError("plain http is for listed addresses; expected https")
        return str(addresses[0])


def sign(key: bytes, number: str, timestamp: int, body: bytes) -> str:
    """Return the header ``webhook-signature`` of a request."""
    content = f"{number}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode()


class WebhookSender:
    """Sends events in threads of its own, from a bounded queue.

    Args:
        hosts: that events may be sent to.
        key: signs them; ``whsec_`` and base64, or any other text.
        count: called with ``sent``, ``failed``, ``refused`` or ``dropped`` for each event.

    Raises:
        ConfigError: the key is not base64 after ``whsec_``.
    """

    def __init__(self, hosts: HostList, key: str, count: Callable[[str], None]) -> None:
        self.hosts = hosts
        try:
            prefix, _, rest = key.partition("whsec_")
            self._key = base64.b64decode(rest, validate=True) if rest and not prefix else key.encode()
        except binascii.Error:
            raise ConfigError("the key of webhooks is not base64 after whsec_") from None
        self._count = count
        self._waiting: queue.Queue[tuple[httpx.URL, dict[str, Any]] | None] = queue.Queue(MAX_WAITING)
        self._threads: list[threading.Thread] = []
        self._client: httpx.Client | None = None
        self._is_closing = threading.Event()

    def open(self) -> None:
        """Start the threads, which share a client."""
        # No proxy of the environment: it would resolve the name again.
        self._client = httpx.Client(follow_redirects=False, trust_env=False, timeout=TIMEOUT_S)
        self._threads = [
            threading.Thread(target=self._work, name=f"emovox-webhook-{i}", daemon=True)
            for i in range(N_THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Finish the requests in progress; events that wait are dropped."""
        self._is_closing.set()
        for _ in self._threads:
            try:
                self._waiting.put_nowait(None)
            except queue.Full:
                break
        for thread in self._threads:
            thread.join(2 * TIMEOUT_S)
        if self._client is not None:
            self._client.close()

    def put(self, url: str, event: dict[str, Any]) -> None:
        """Take an event for a URL; returns at once.

        Raises:
            Refusal: the host is not listed.
        """
        try:
            self._waiting.put_nowait((self.hosts.check(url), event))
        except queue.Full:
            self._report("dropped")

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None and not self._is_closing.is_set():
            assert self._client is not None
            self._send(self._client, *item)

    def _send(self, client: httpx.Client, url: httpx.URL, event: dict[str, Any]) -> None:
        number, body = f"msg_{secrets.token_hex(12)}", json.dumps(event, separators=(",", ":")).encode()
        status: int | None = None
        for wait_s in (*RETRY_WAITS_S, None):
            try:
                status = self._post(client, url, number, body)
            except PermissionError:
                self._report("refused")
                return
            except (OSError, httpx.HTTPError):
                status = None
            if status is not None and 200 <= status < 300:
                self._report("sent", status)
                return
            may_pass = status is None or status == 429 or status >= 500
            if not may_pass or wait_s is None or self._is_closing.wait(wait_s):
                break
        self._report("failed", status)

    def _post(self, client: httpx.Client, url: httpx.URL, number: str, body: bytes) -> int:
        """Send to the address that was checked, under the name of the host; the answer is not read."""
        timestamp = int(time.time())
        request = client.build_request(
            "POST",
            url.copy_with(host=self.hosts.resolve(url)),
            content=body,
            headers={
                "Host": url.netloc.decode("ascii"),
                "Content-Type": "application/json",
                "User-Agent": "emovox",
                "webhook-id": number,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": sign(self._key, number, timestamp, body),
            },
            extensions={"sni_hostname": url.host},
        )
        answer = client.send(request, stream=True)
        answer.close()
        return answer.status_code

    def _report(self, result: str, status: int | None = None) -> None:
        self._count(result)
        log_event("webhook", result=result, status=status)


def make_sender(settings: ServerSettings, count: Callable[[str], None]) -> WebhookSender | None:
    """Return a sender for the operator's settings; ``None`` without listed hosts.

    Raises:
        ConfigError: a host or the key cannot be read, or the operator's own webhook is not on a listed host.
    """
    if not settings.webhook_hosts:
        return None
    hosts = HostList(settings.webhook_hosts)
    if settings.webhook is not None:
        try:
            hosts.check(settings.webhook)
        except Refusal as refusal:
            raise ConfigError(f"{refusal.message}; add it with --webhook-host") from None
    return WebhookSender(hosts, settings.webhook_key or "", count)


def _normalize(host: str) -> str:
    """One spelling of each host: lower case, no dot at the end, addresses in their short form."""
    address = _parse_address(host)
    return host.lower().rstrip(".") if address is None else str(address)


def _parse_address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
