"""A stand-in for Telegram's Bot API on loopback: it hands out messages and remembers the answers."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email import policy
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote

TOKEN = "123456:AAfake-Token_fake-Token_fake-Token0"


def command_entities(text: object) -> dict[str, Any]:
    """What Telegram adds to a message that begins with a command."""
    found = re.match(r"/\w+(@\w+)?", text) if isinstance(text, str) else None
    return {"entities": [{"type": "bot_command", "offset": 0, "length": found.end()}]} if found else {}


@dataclass
class Call:
    """One call of a method."""

    method: str
    fields: dict[str, str]
    photo: bytes | None = None


@dataclass
class Telegram:
    """The server. ``plan`` holds what goes wrong: method -> what to do instead, one a call.

    A number is a status with Telegram's error document, ``"drop"`` closes the connection, ``"page"`` sends
    HTML, ``("wait", s)`` asks to come again in s seconds. ``put_off`` names chats that take no message,
    and the seconds that they ask for.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    plan: dict[str, list[Any]] = field(default_factory=dict)
    put_off: dict[str, float] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    on_download: Callable[[str], None] = lambda file_id: None

    def __post_init__(self) -> None:
        self._updates: list[dict[str, Any]] = []
        self._n = 0
        self._news = threading.Condition()
        stub = self

        class Handler(_Handler):
            telegram = stub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def send(self, user: int = 1, *, chat: str = "private", **content: Any) -> int:
        """Somebody sends a message; its number."""
        with self._news:
            self._n += 1
            number = 1000 + self._n
            message = {
                "message_id": number,
                "date": 0,
                "chat": {"id": user if chat == "private" else -1, "type": chat},
                "from": {"id": user, "is_bot": False, "first_name": "A"},
                **command_entities(content.get("text")),
                **content,
            }
            self._updates.append({"update_id": self._n, "message": message})
            self._news.notify_all()
        return number

    def send_raw(self, update: dict[str, Any]) -> None:
        """Something odd arrives."""
        with self._news:
            self._n += 1
            self._updates.append({**update, "update_id": self._n})
            self._news.notify_all()

    def recording(self, content: bytes, **told: Any) -> dict[str, Any]:
        """A file for a message to hold."""
        file_id = f"file{len(self.files)}"
        self.files[file_id] = content
        return {"file_id": file_id, "file_unique_id": file_id, "duration": 0, "length": 1, **told}

    def answers(self, number: int | None = None) -> list[Call]:
        """Messages that the bot sent, all or those that answer one message."""
        sent = [call for call in self.calls if call.method in ("sendMessage", "sendPhoto")]
        wanted = [json.loads(call.fields.get("reply_parameters", "{}")).get("message_id") for call in sent]
        return [call for call, to in zip(sent, wanted, strict=True) if number in (None, to)]

    def answer(self, number: int, timeout_s: float = 15) -> Call:
        """The answer to a message, once it is there."""
        deadline_s = time.monotonic() + timeout_s
        while not self.answers(number):
            assert time.monotonic() < deadline_s, f"no answer to {number}; got {self.calls}"
            time.sleep(0.01)
        return self.answers(number)[0]

    def updates(self, offset: int, timeout_s: float) -> list[dict[str, Any]]:
        with self._news:
            self._updates = [one for one in self._updates if one["update_id"] >= offset]
            if not self._updates and timeout_s:
                self._news.wait(0.2)
            return self._updates[:5]

    @property
    def n_waiting(self) -> int:
        """Messages that were not yet confirmed."""
        return len(self._updates)

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    telegram: Telegram
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        _, kind, bot, *path = unquote(self.path).split("/")
        file_id = "/".join(path).removeprefix("voice/")
        content = self.telegram.files.get(file_id)
        if kind != "file" or bot != f"bot{TOKEN}" or content is None:
            self._send(404, b"{}")
            return
        self.telegram.on_download(file_id)
        if not self._went_wrong("download"):
            self._send(200, content)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        _, bot, method = self.path.split("/")
        call = self._call(method, body)
        if bot != f"bot{TOKEN}":
            self._refuse(401, "Unauthorized")
            return
        if self._went_wrong(method) or self._is_put_off(call):
            return
        self.telegram.calls.append(call)
        result = self._result(call)
        if result is None:
            self._refuse(400, "Bad Request: no such file")
        else:
            self._send(200, json.dumps({"ok": True, "result": result}).encode())

    def _result(self, call: Call) -> Any:
        if call.method == "getMe":
            return {"id": 123456, "is_bot": True, "first_name": "E", "username": "emovox_test_bot"}
        if call.method == "getUpdates":
            return self.telegram.updates(int(call.fields.get("offset", 0)), float(call.fields["timeout"]))
        if call.method == "getFile":
            file_id = call.fields["file_id"]
            return (
                {"file_id": file_id, "file_unique_id": file_id, "file_path": f"voice/{file_id}"}
                if file_id in self.telegram.files
                else None
            )
        return {"message_id": 1, "date": 0, "chat": {"id": 1, "type": "private"}}

    def _call(self, method: str, body: bytes) -> Call:
        kind = self.headers.get("Content-Type", "")
        if not kind.startswith("multipart/"):
            return Call(method, dict(parse_qsl(body.decode(), keep_blank_values=True)))
        parser = BytesParser(policy=policy.HTTP)
        parts = parser.parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
        call = Call(method, {})
        for part in parts.iter_parts():
            name = str(part.get_param("name", header="content-disposition"))
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            if name == "photo":
                call.photo = content
            else:
                call.fields[name] = content.decode()
        return call

    def _went_wrong(self, method: str) -> bool:
        plan = self.telegram.plan.get(method)
        fault = plan.pop(0) if plan else None
        if fault is None:
            return False
        if fault == "drop":
            self.close_connection = True
        elif fault == "page":
            self._send(502, b"<html>bad gateway</html>", "text/html")
        elif isinstance(fault, tuple):
            self._refuse(429, "Too Many Requests: retry later", retry_after=fault[1])
        else:
            self._refuse(fault, "Internal" if fault >= 500 else "Bad Request: refused")
        return True

    def _is_put_off(self, call: Call) -> bool:
        wait_s = self.telegram.put_off.get(call.fields.get("chat_id", ""))
        if wait_s is None:
            return False
        self._refuse(429, "Too Many Requests: retry later", retry_after=wait_s)
        return True

    def _refuse(self, status: int, description: str, **parameters: Any) -> None:
        document = {"ok": False, "error_code": status, "description": description, "parameters": parameters}
        self._send(status, json.dumps(document).encode())

    def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
        with suppress(ConnectionError):  # who asked has gone
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
