"""Webhooks: events of live sessions reach listed hosts, signed, and no other host."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
import httpx
from fastapi.testclient import TestClient

import emovox
from emovox.cli import main
from emovox.errors import ConfigError
from emovox.inference.recognizer import Recognizer
from emovox.server import webhooks
from emovox.server.app import create_app
from emovox.server.schemas import Refusal
from emovox.server.settings import ServerSettings
from emovox.server.webhooks import HostList, WebhookSender, sign
from serving import until

RATE = 16_000
KEY = "whsec_" + base64.b64encode(b"a key of thirty-two bytes, about").decode()
EVENT = {"type": "trigger", "rule": "angry>0.8<0.7:2s", "state": "begin"}


class Receiver(ThreadingHTTPServer):
    """What is sent to it: path, headers and body; answers with the next of ``statuses``, else 204."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.base = f"http://127.0.0.1:{self.server_port}"
        self.entry = f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.received.append((self.path, headers, body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.send_header("Location", f"{self.server.base}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def make_sender(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., tuple[WebhookSender, Counter[str]]]]:
    monkeypatch.setattr(webhooks, "RETRY_WAITS_S", (0.01, 0.01))
    senders: list[WebhookSender] = []

    def make(*hosts: str) -> tuple[WebhookSender, Counter[str]]:
        counts: Counter[str] = Counter()
        senders.append(WebhookSender(HostList(hosts), KEY, lambda result: counts.update([result])))
        senders[-1].open()
        return senders[-1], counts

    yield make
    for sender in senders:
        sender.close()


def verify(headers: dict[str, str], body: bytes) -> bool:
    """The check of a receiver, from the text of the standard."""
    key = base64.b64decode(KEY.removeprefix("whsec_"))
    content = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return headers["webhook-signature"] == f"v1,{expected}"


# ------------------------------------------------------------------ which hosts


@pytest.mark.parametrize(
    "url",
    ["https://other.example/hook", "https://hooks.example.evil.org", "https://sub.hooks.example/",
     "https://hooks.example:8443/", "https://user@hooks.example/", "https://hooks.example@evil.org/",
     "ftp://hooks.example/", "file:///etc/passwd", "//hooks.example/", "hooks.example", "", "https://",
     "https://127.0.0.1/", "https://169.254.169.254/latest", "https://hooks.example/#part", "https://[::1",
     "https://hooks.example\\@evil.org/", "gopher://hooks.example/", "https://evil.org/?hooks.example"],
)  # fmt: skip
def test_hosts_that_are_not_listed_are_refused(url: str) -> None:
    with pytest.raises(Refusal) as caught:
        HostList(["hooks.example", "10.0.0.0/8"]).check(url)
    assert caught.value.status == 400


def test_listed_hosts() -> None:
    hosts = HostList(["Hooks.Example.", "other.example:8443", "10.0.0.5", "::1", "[::1]:9000"])
    for url in (
        "https://hooks.example/a?b",
        "https://HOOKS.example:443/",
        "https://other.example:8443/",
        "http://10.0.0.5/",
        "http://[::1]/",
        "http://[::1]:9000/",
    ):
        hosts.check(url)
    for entry in ("", "https://a.example", "a.example/path", "user@a.example", "10.0.0.0/99", "a b"):
        with pytest.raises(ConfigError, match="webhook host"):
            HostList([entry])


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1",
     "fe80::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "224.0.0.1", "ff02::1"],
)  # fmt: skip
def test_private_addresses_are_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = [(family, socket.SOCK_STREAM, 6, "", (each, 443)) for each in ("93.184.216.34", address)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    hosts = HostList(["hooks.example"])
    with pytest.raises(PermissionError, match="private address"):
        hosts.resolve(hosts.check("https://hooks.example/"))
    listed = HostList(["hooks.example", "0.0.0.0/0", "::/0"])
    assert listed.resolve(listed.check("https://hooks.example/")) == "93.184.216.34"


def test_plain_http_is_for_listed_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    hosts = HostList(["hooks.example"])
    with pytest.raises(PermissionError, match="https"):
        hosts.resolve(hosts.check("http://hooks.example/"))


# ------------------------------------------------------------------ sending


def test_requests_are_signed(make_sender: Callable[..., Any], receiver: Receiver) -> None:
    sender, counts = make_sender(receiver.entry)
    sender.put(f"{receiver.base}/hook?a=b", EVENT)
    assert until(lambda: counts["sent"] == 1, 60.0)
    ((path, headers, body),) = receiver.received
    assert path == "/hook?a=b"
    assert json.loads(body) == EVENT
    assert headers["host"] == receiver.entry
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert verify(headers, body)
    assert not verify(headers, body + b" ")


def test_signature_of_the_standard() -> None:
    """The example of the specification (github.com/standard-webhooks, spec and libraries' tests)."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_redirects_are_not_followed(make_sender: Callable[..., Any], receiver: Receiver) -> None:
    sender, counts = make_sender(receiver.entry)
    receiver.statuses = [302, 307, 308]
    for _ in range(3):
        sender.put(receiver.base, EVENT)
    assert until(lambda: counts["failed"] == 3, 60.0)
    assert [path for path, _, _ in receiver.received] == ["/"] * 3


def test_failures_that_may_pass_are_tried_again(make_sender: Callable[..., Any], receiver: Receiver) -> None:
    sender, counts = make_sender(receiver.entry)
    receiver.statuses = [500, 429]
    sender.put(receiver.base, EVENT)
    assert until(lambda: counts["sent"] == 1, 60.0)
    assert len({headers["webhook-id"] for _, headers, _ in receiver.received}) == 1, "one event, one id"
    receiver.statuses = [400]
    sender.put(receiver.base, EVENT)
    assert until(lambda: counts["failed"] == 1, 60.0)
    assert len(receiver.received) == 4


def test_private_name_is_not_connected_to(make_sender: Callable[..., Any], receiver: Receiver) -> None:
    sender, counts = make_sender(f"localhost:{receiver.server_port}")
    sender.put(f"http://localhost:{receiver.server_port}/", EVENT)
    assert until(lambda: counts["refused"] == 1, 60.0)
    assert receiver.received == []
    both, counts = make_sender(f"localhost:{receiver.server_port}", "127.0.0.0/8", "::1")
    both.put(f"http://localhost:{receiver.server_port}/", EVENT)
    assert until(lambda: counts["sent"] + counts["failed"] == 1, 60.0)


def test_name_is_resolved_once(
    make_sender: Callable[..., Any], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = socket.getaddrinfo, []

    def resolve(host: Any, *args: Any, **named: Any) -> Any:
        asked.append(host)
        return real("127.0.0.1" if host == "hooks.example" else host, *args, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    sender, counts = make_sender(f"hooks.example:{receiver.server_port}", "127.0.0.1")
    sender.put(f"http://hooks.example:{receiver.server_port}/", EVENT)
    assert until(lambda: counts["sent"] == 1, 60.0)
    assert asked.count("hooks.example") == 1
    assert receiver.received[0][1]["host"] == f"hooks.example:{receiver.server_port}"


def test_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MAX_WAITING", 3)
    counts: Counter[str] = Counter()
    sender = WebhookSender(HostList(["hooks.example"]), "key", lambda result: counts.update([result]))
    for _ in range(5):  # its threads do not run
        sender.put("https://hooks.example/", EVENT)
    assert counts == {"dropped": 2}


# ------------------------------------------------------------------ with a server


@pytest.fixture(scope="module")
def model(tiny_bundle: Path) -> Recognizer:
    return emovox.load(tiny_bundle)


def make_buzz() -> np.ndarray:
    """Six seconds of int16."""
    t = np.arange(6 * RATE) / RATE
    return (5000 * sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 20))).astype("<i2")


def run_session(client: TestClient, start: dict[str, Any], *, flush: bool = True) -> list[dict[str, Any]]:
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_text(json.dumps({"type": "start", "rate": RATE, "vad": "off", **start}))
        answers = [socket.receive_json()]
        if answers[0]["type"] == "ready":
            socket.send_bytes(make_buzz().tobytes())
            if flush:
                socket.send_text('{"type": "flush"}')
            last = "flushed" if flush else "trigger"
            while answers[-1]["type"] != last:
                answers.append(socket.receive_json())
    return answers


def test_events_of_a_session(model: Recognizer, receiver: Receiver) -> None:
    label = model.predict(make_buzz() / 32768, sample_rate=RATE, vad="off").label
    settings = ServerSettings(webhook_hosts=(receiver.entry,), webhook_key=KEY)
    rule = f"{label}>0.1<0.05:2s"
    with TestClient(create_app(settings, lambda _: model)) as client:
        answers = run_session(client, {"on": [rule], "webhook": f"{receiver.base}/mine"})
        events = [answer for answer in answers if answer["type"] == "trigger"]
        assert [(event["rule"], event["state"]) for event in events] == [(rule, "begin"), (rule, "end")]
        assert until(lambda: len(receiver.received) == 2, 60.0)
        sent = sorted((json.loads(body) for _, _, body in receiver.received), key=lambda e: e["at_s"])
        common = {"session": answers[0]["session"], "model": "default"}
        assert sent == [{**event, **common} for event in events]
        assert all(path == "/mine" and verify(headers, body) for path, headers, body in receiver.received)
        assert 'emovox_webhooks_total{result="sent"} 2.0' in client.get("/metrics").text
        # One that leaves in the middle: what began is ended.
        run_session(client, {"on": [rule], "webhook": f"{receiver.base}/left"}, flush=False)
        assert until(lambda: len(receiver.received) == 4, 60.0)
        left = [json.loads(body)["state"] for path, _, body in receiver.received if path == "/left"]
        assert sorted(left) == ["begin", "end"]


def test_unlisted_host_in_a_session(model: Recognizer, receiver: Receiver) -> None:
    settings = ServerSettings(webhook_hosts=("hooks.example",), webhook_key=KEY)
    with TestClient(create_app(settings, lambda _: model)) as client:
        for start, expected in (
            ({"on": ["angry>0.1"], "webhook": receiver.base}, "does not list the host '127.0.0.1"),
            ({"webhook": "https://hooks.example/"}, "there is no rule"),
            ({"on": ["angry"]}, "angry>0.8:2s"),
            ({"on": ["hangry>0.1"]}, "hangry"),
            ({"on": ["angry>0.1"] * 17}, "at most 16"),
        ):
            (answer,) = run_session(client, start)
            assert answer["type"] == "error"
            assert expected in answer["error"]["message"]
    with TestClient(create_app(ServerSettings(), lambda _: model)) as client:
        (answer,) = run_session(client, {"on": ["angry>0.1"], "webhook": receiver.base})
        assert "lists no host" in answer["error"]["message"]
    assert receiver.received == []


def test_webhook_of_the_operator(model: Recognizer, receiver: Receiver) -> None:
    label = model.predict(make_buzz() / 32768, sample_rate=RATE, vad="off").label
    settings = ServerSettings(
        rules=(f"{label}>0.1", "boredom>0.1"),  # the tiny model has no boredom
        webhook=f"{receiver.base}/all",
        webhook_hosts=(receiver.entry,),
        webhook_key=KEY,
    )
    with TestClient(create_app(settings, lambda _: model)) as client:
        answers = run_session(client, {})
        assert {answer["type"] for answer in answers} <= {"ready", "window", "segment", "flushed"}
        assert until(lambda: len(receiver.received) == 2, 60.0)
    assert {path for path, _, _ in receiver.received} == {"/all"}


def test_wrong_settings(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_KEY", KEY)
    monkeypatch.setenv("BAD_KEY", "whsec_?")
    key = ("--webhook-key-env", "WEBHOOK_KEY")
    rule = ("--on", "angry>0.8:2s")
    url = ("--webhook", "https://hooks.example/x")
    host = ("--webhook-host", "hooks.example")
    for options, expected in (
        (rule, "belong together"),
        ((*url, *host, *key), "belong together"),
        ((*rule, *url), "needs its host listed"),
        ((*rule, *url, *host), "signed"),
        ((*rule, *url, "--webhook-host", "other.example", *key), "does not list the host 'hooks.example'"),
        ((*rule, *url, *host, "--webhook-key-env", "BAD_KEY"), "base64"),
        ((*rule, *url, *host, "--webhook-key-env", "NO_KEY"), "--webhook-key-env names is empty"),
        (("--on", "hangry>0.8:2s", *url, *host, *key), "hangry"),
        (("--on", "angry", *url, *host, *key), "angry>0.8:2s"),
        (("--webhook-host", "https://x", *key), "cannot be read"),
    ):
        assert main(["serve", "--port", "0", *options]) == 2, options
        assert expected in capsys.readouterr().err
    assert KEY not in repr(ServerSettings(webhook_hosts=("a.example",), webhook_key=KEY))


def test_certificate_is_checked_for_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes to the address, TLS and the header Host name the host."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(204)

    found = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2606:2800:220:1::1", 443, 0, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    counts: Counter[str] = Counter()
    hosts = HostList(["hooks.example"])
    sender = WebhookSender(hosts, KEY, lambda result: counts.update([result]))
    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        sender._send(client, hosts.check("https://hooks.example/x"), EVENT)
    assert counts == {"sent": 1}
    assert requests[0].url.host == "2606:2800:220:1::1"
    assert requests[0].headers["host"] == "hooks.example"
    assert requests[0].extensions["sni_hostname"] == "hooks.example"
