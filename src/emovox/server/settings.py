"""Settings of the server, validated once."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from emovox.errors import ConfigError
from emovox.inference.triggers import TriggerRule

__all__ = ["ServerSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Settings of the operator: immutable, and sent to worker processes.

    Raises:
        ConfigError: a value is out of range; the message says what is expected.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    """0 lets the system choose one."""
    models: tuple[str, ...] = ("default",)
    """Names for `emovox.load`; the first answers when a request names none."""
    workers: int = 1
    """Processes, each with models of its own."""
    threads: int = 2
    """Predictions at a time in a process; more than there are cores gain nothing."""
    queue: int = 32
    """Predictions that may wait in a process; further ones are answered 503."""
    max_open: int = 128
    """Requests being read, processed or answered at a time in a process."""
    api_key: str | None = field(default=None, repr=False)
    max_upload_mb: float = 25.0
    """Of a whole request, all its files together; 1 MB is 1 000 000 bytes."""
    max_seconds: float = 600.0
    """Of one recording, measured while decoding."""
    max_files: int = 32
    """In one request."""
    upload_timeout_s: float = 60.0
    """Time limit for a request's body."""
    rate: float | None = None
    """Requests per minute and client; ``None``: no limit."""
    max_streams: int = 64
    """SessionPool voices at a time in a process; 50 keep two cores about half busy."""
    stream_idle_s: float = 30.0
    """A live session without data for so long is closed."""
    max_stream_s: float = 4 * 3600.0
    """Of a live session, by the clock and in audio."""
    profiles: Path | None = None
    """Folder of voice profiles that ``?profile=NAME`` may name, each ``NAME.json``."""
    drain_s: float = 30.0
    """Time for requests in progress when the server stops."""
    rules: tuple[str, ...] = ()
    """Of live sessions that name none, for ``webhook``: see `emovox.inference.triggers`."""
    webhook: str | None = None
    """URL that gets the events of live sessions that name no other."""
    webhook_hosts: tuple[str, ...] = ()
    """Hosts that events may be sent to, with private addresses and networks: see `emovox.server.webhooks`."""
    webhook_key: str | None = field(default=None, repr=False)
    """Signs what is sent."""

    def __post_init__(self) -> None:
        at_least_one = ("workers", "threads", "max_open", "max_files", "max_streams")
        above_zero = (
            "max_upload_mb",
            "max_seconds",
            "upload_timeout_s",
            "drain_s",
            "stream_idle_s",
            "max_stream_s",
        )
        for name in at_least_one:
            _check(name, getattr(self, name), getattr(self, name) >= 1, "1 or more")
        for name in above_zero:
            _check(name, getattr(self, name), 0 < getattr(self, name) < float("inf"), "more than 0")
        _check("port", self.port, 0 <= self.port <= 65535, "0 to 65535")
        _check("queue", self.queue, self.queue >= 0, "0 or more")
        _check("rate", self.rate, self.rate is None or 0 < self.rate < float("inf"), "more than 0 a minute")
        _check("models", self.models, bool(self.models), "at least one name")
        _check("models", self.models, len(set(self.models)) == len(self.models), "each name once")
        if self.api_key is not None and not self.api_key.strip():  # would admit everybody, or no client
            raise ConfigError("the API key is empty; make it long and random, or leave it out")
        if self.profiles is not None and not self.profiles.is_dir():
            raise ConfigError(f"profiles is {os.fspath(self.profiles)!r}; expected a folder that exists")
        for rule in self.rules:
            TriggerRule.parse(rule)
        if bool(self.rules) != (self.webhook is not None):
            raise ConfigError("rules and a webhook belong together; give both --on and --webhook, or neither")
        if self.webhook is not None and not self.webhook_hosts:
            raise ConfigError("a webhook needs its host listed; add --webhook-host HOST")
        if self.webhook_hosts and not self.webhook_key:
            raise ConfigError(
                "webhooks are signed; name the variable that has the key with --webhook-key-env"
            )

    @property
    def max_upload_bytes(self) -> int:
        """The limit of a request's body."""
        return round(self.max_upload_mb * 1e6)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # another host name
            return False


def _check(name: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {value!r}; expected {expected}")
