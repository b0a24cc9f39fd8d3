"""What bounds a server, part by part; and the command, as a process that is told to stop."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

pytest.importorskip("fastapi")
import httpx

import emovox
from emovox.cli import main
from emovox.errors import ConfigError
from emovox.server import limits, monitoring
from emovox.server.limits import ConcurrencyLimit, RateLimit, check_key, identify_client
from emovox.server.model_pool import ModelPool
from emovox.server.schemas import Refusal
from emovox.server.settings import ServerSettings
from emovox.server.uploads import MAX_NAME, base_name
from speech import voice, wav

CLIP = wav(voice(1.0), subtype="PCM_16")


# ------------------------------------------------------------------------------------ limits


@example(1.0, [(8.037471708801561, "a"), (0.0, "a"), (0.0, "a")])  # 60 s later by rounded times is less
@given(
    st.floats(1, 600),
    st.lists(st.tuples(st.floats(0, 30), st.sampled_from("ab")), min_size=1, max_size=60),
)
def test_no_client_gets_more_than_his_rate(rate: float, asked: list[tuple[float, str]]) -> None:
    now_s = 0.0
    rates = RateLimit(rate, clock=lambda: now_s)
    let_in: dict[str, list[float]] = {"a": [], "b": []}
    for wait_s, client in asked:
        now_s += wait_s
        try:
            rates.take(client)
        except Refusal as refusal:
            now_s += refusal.retry_after_s or math.inf
            rates.take(client)  # who comes when he is told to is let in
        let_in[client].append(now_s)
    for times in let_in.values():  # counted anew: of any stretch of time
        for i, first in enumerate(times):
            for j in range(i, len(times)):
                assert j - i + 1 <= rate + (times[j] - first) * rate / 60 + 1e-6


def test_rates_know_only_so_many_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CLIENTS", 100)
    rates = RateLimit(1, clock=lambda: 0.0)
    for i in range(1000):
        rates.take(str(i))
    assert len(rates) == 100
    with pytest.raises(Refusal) as caught:
        rates.take("999")
    assert (caught.value.status, caught.value.retry_after_s) == (429, 60)
    RateLimit(None).take("x")


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:2", "2001:db8::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "unknown"),
        (None, "unknown"),
    ],
)
def test_what_counts_as_one_client(host: str | None, client: str) -> None:
    assert identify_client(host) == client


@given(st.text(min_size=1).filter(str.strip), st.text())
def test_only_the_key_opens(key: str, other: str) -> None:
    check_key(None, {})
    check_key(key, {"x-api-key": key})
    check_key(key, {}, key)
    if other != key:
        for headers, given_ in (({"x-api-key": other}, None), ({}, other), ({"authorization": other}, None)):
            with pytest.raises(Refusal) as caught:
                check_key(key, headers, given_)
            assert caught.value.status == 401
            assert len(other) < 4 or other not in caught.value.message


def test_a_room_has_so_many_places() -> None:
    room = ConcurrencyLimit(2)
    with room, room:
        with pytest.raises(Refusal) as caught, room:
            pass
        assert caught.value.status == 503
    assert room.n_active == 0


@given(st.text() | st.none())
def test_the_name_of_a_file_is_one_name(name: str | None) -> None:
    found = base_name(name)
    if found is not None:
        assert 0 < len(found) <= MAX_NAME
        assert not {"/", "\\", "\0"} & set(found) or "\0" in str(name)
        json.dumps(found, ensure_ascii=False).encode()  # can be sent


@pytest.mark.parametrize(
    "wrong",
    [
        {"workers": 0},
        {"threads": 0},
        {"queue": -1},
        {"port": 70000},
        {"max_upload_mb": 0},
        {"max_seconds": float("inf")},
        {"rate": 0},
        {"rate": float("nan")},
        {"models": ()},
        {"models": ("a", "a")},
        {"api_key": "  "},
        {"profiles": Path("nowhere")},
    ],
)
def test_settings_out_of_range_are_refused_and_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong)).replace("api_key", "API key")):
        ServerSettings(**wrong)


def test_settings_say_who_reaches_it_and_hide_the_key() -> None:
    hosts = {
        "127.0.0.1": True,
        "::1": True,
        "localhost": True,
        "0.0.0.0": False,
        "192.0.2.1": False,
        "me": False,
    }
    assert {host: ServerSettings(host=host).is_loopback for host in hosts} == hosts
    assert "battery" not in repr(ServerSettings(api_key="correct battery"))


# ------------------------------------------------------------------------------------ the engine


def test_who_goes_while_his_work_is_done_is_waited_for(tiny_bundle: Path) -> None:
    engine = ModelPool(("one",), lambda _: emovox.load(tiny_bundle), threads=1, queue=5)
    began, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        assert go_on.wait(20)
        done.set()

    async def asked() -> None:
        engine.open()
        async with anyio.create_task_group() as group:
            group.start_soon(engine.run, work)
            group.start_soon(engine.run, lambda: pytest.fail("it was cancelled before its turn"))
            while not began.is_set():
                await asyncio.sleep(0.005)
            assert engine.n_active == 2
            threading.Timer(0.1, go_on.set).start()
            group.cancel_scope.cancel()
        assert done.is_set()  # nothing is closed under a thread that still reads it
        assert engine.n_active == 0
        assert await engine.run(lambda: 7) == 7
        engine.close()
        with pytest.raises(Refusal) as caught:
            await engine.run(lambda: 8)
        assert caught.value.code == "draining"

    asyncio.run(asked())


def test_a_line_of_the_log_is_json_and_a_traceback_is_a_type() -> None:
    try:
        raise ValueError("what was said")
    except ValueError:
        record = logging.LogRecord("uvicorn", logging.ERROR, "f", 1, "it %s", ("broke",), sys.exc_info())
    line = monitoring.JsonLinesFormatter().format(record)
    assert "what was said" not in line
    found = json.loads(line)
    assert (found["event"], found["level"], found["error"]) == ("it broke", "error", "ValueError")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["time"])
    # What libraries say below a warning may hold what was sent: uvicorn a WebSocket's query, at info.
    loggers = monitoring.log_config("debug")["loggers"]
    assert loggers.pop(monitoring.LOGGER)["level"] == "DEBUG"
    assert {each["level"] for each in loggers.values()} == {logging.WARNING}


# ------------------------------------------------------------------------------------ the command


@contextmanager
def process(*argv: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``emovox serve`` on a free port, and its address."""
    command = [sys.executable, "-W", "error", "-m", "emovox", "serve", "--port", "0", *argv]
    opened = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
    )
    try:
        assert opened.stdout is not None
        found = re.search(r"http://\S+", opened.stdout.readline())
        assert found, opened.communicate(timeout=30)
        yield opened, found[0]
    finally:
        opened.kill()
        opened.wait()
        for pipe in (opened.stdout, opened.stderr):
            if pipe is not None:
                pipe.close()


def ready(url: str) -> None:
    for _ in range(600):
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("it does not come up")


def test_told_to_stop_it_finishes_what_it_took_and_the_log_keeps_secrets(tiny_bundle: Path) -> None:
    key = "a-key-that-nobody-knows"
    argv = ("--model", str(tiny_bundle), "--api-key-env", "THE_KEY", "--log-level", "debug")
    with process(*argv, THE_KEY=key) as (server, url):
        ready(url)
        host, port = url.removeprefix("http://").split(":")
        told = threading.Event()

        def slowly() -> Iterator[bytes]:
            yield CLIP[:1000]
            server.send_signal(signal.SIGTERM)
            told.set()
            time.sleep(0.5)
            yield CLIP[1000:]

        answer = httpx.post(
            f"{url}/v1/predict?labels=happy,sad", content=slowly(), headers={"x-api-key": key}, timeout=60
        )
        assert answer.status_code == 200
        assert answer.json()["predictions"][0]["scores"].keys() == {"happy", "sad"}
        _, log = server.communicate(timeout=60)
        assert server.returncode == -signal.SIGTERM
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/healthz")
    lines = [json.loads(line) for line in log.splitlines()]
    assert any(line.get("route") == "/v1/predict" and line["status"] == 200 for line in lines)
    for secret in (key, "happy", "127.0.0.1:" + str(int(port) + 1), "/readyz?"):
        assert secret not in log
    assert host == "127.0.0.1"


@pytest.mark.slow
def test_several_processes_answer_and_count_together(tiny_bundle: Path, tmp_path: Path) -> None:
    with process("--model", str(tiny_bundle), "--workers", "2", TMPDIR=str(tmp_path)) as (server, url):
        ready(url)
        expected = emovox.load(tiny_bundle).predict(CLIP).to_dict()
        for _ in range(20):  # a connection each: both processes get some
            assert httpx.post(f"{url}/v1/predict", content=CLIP).json()["predictions"] == [expected]
        name = 'emovox_requests_total{method="POST",route="/v1/predict",status="200"} 20.0'
        assert name in httpx.get(f"{url}/metrics").text
        server.send_signal(signal.SIGTERM)
        _, log = server.communicate(timeout=60)
        assert server.returncode == 0
    assert list(tmp_path.glob("emovox*")) == []
    processes = {json.loads(line)["process"] for line in log.splitlines()}
    assert len(processes) == 3


def test_a_process_opens_its_counts_before_the_first_request(tmp_path: Path) -> None:
    code = """
from pathlib import Path
from emovox.server import monitoring
from emovox.server.monitoring import Metrics

def opened():
    return sorted(str(each.resolve()) for each in Path("/proc/self/fd").iterdir() if each.resolve().exists())

counts = Metrics()
before = opened()
counts.count_request("/v1/predict", "POST", 200, 0.1)
counts.count_error("too_large")
assert len(before) > 3 and opened() == before, (before, opened())
"""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, timeout=60)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--model", "nobody"), "neither a known model"),
        (("--api-key-env", "NO_SUCH_KEY"), "NO_SUCH_KEY"),
        (("--max-upload-mb", "0"), "max_upload_mb"),
        (("--rate", "-1"), "rate"),
        (("--profiles", "nowhere"), "nowhere"),
        (("--log-level", "loud"), "loud"),
        (("--host", "192.0.2.1"), "cannot listen"),
    ],
)
def test_what_cannot_be_is_said_before_it_starts(
    capfd: pytest.CaptureFixture[str], tiny_bundle: Path, argv: tuple[str, ...], says: str
) -> None:
    assert main(["serve", "--port", "0", *argv]) == 2
    assert says in capfd.readouterr().err


def test_a_server_that_all_may_use_is_warned_of(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path
) -> None:
    from emovox.server import server

    ran: list[ServerSettings] = []
    monkeypatch.setattr(server, "run", lambda settings, **_: ran.append(settings))
    model = ["--model", str(tiny_bundle)]
    assert main(["serve", *model]) == 0
    assert capfd.readouterr().err == ""
    assert main(["serve", *model, "--host", "0.0.0.0"]) == 0
    assert "--api-key-env" in capfd.readouterr().err
    monkeypatch.setenv("THE_KEY", "k")
    assert main(["serve", *model, "--host", "0.0.0.0", "--api-key-env", "THE_KEY"]) == 0
    assert capfd.readouterr().err == ""
    assert [each.api_key for each in ran] == [None, None, "k"]


@pytest.mark.parametrize("kept", ["sekret\n", " sekret\r\n"])
def test_a_key_that_was_kept_with_its_lines_end_opens(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path, kept: str
) -> None:
    from emovox.server import server

    ran: list[ServerSettings] = []
    monkeypatch.setattr(server, "run", lambda settings, **_: ran.append(settings))
    monkeypatch.setenv("THE_KEY", kept)
    assert main(["serve", "--model", str(tiny_bundle), "--api-key-env", "THE_KEY"]) == 0
    check_key(ran[0].api_key, {"x-api-key": "sekret"})


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines", "a\x7fb"])
def test_a_key_that_no_header_carries_is_refused_and_not_told(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path, key: str
) -> None:
    monkeypatch.setenv("THE_KEY", key)
    assert main(["serve", "--model", str(tiny_bundle), "--api-key-env", "THE_KEY"]) == 2
    said = capfd.readouterr().err
    assert "printable ASCII" in said
    assert key not in said


# --- connections --------------------------------------------------------------------------------------
