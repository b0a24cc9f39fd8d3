"""What the Dockerfile, docs/deploy.md and the Space say, the server understands; the Space starts."""

from __future__ import annotations

import configparser
import importlib.machinery
import importlib.util
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from types import ModuleType

import pytest

from emovox.cli import main
from emovox.disclaimer import NOTICE
from emovox.server.settings import ServerSettings

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "examples" / "space"
DEPLOY = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def image() -> ModuleType:
    """`scripts/image`, which reads Dockerfiles."""
    loader = importlib.machinery.SourceFileLoader("image", str(ROOT / "scripts" / "image"))
    spec = importlib.util.spec_from_loader("image", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["image"] = module  # dataclasses ask for it
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def said_of(image: ModuleType, folder: Path) -> dict[str, str]:
    """Instruction -> its arguments, the last of each kind: those of the image itself."""
    return dict(image.instructions((folder / "Dockerfile").read_text(encoding="utf-8")))


def command(image: ModuleType, folder: Path) -> list[str]:
    """What the image runs; in exec form, or it would not be JSON."""
    said = said_of(image, folder)
    return [word for name in ("ENTRYPOINT", "CMD") if name in said for word in image.json.loads(said[name])]


def block(language: str) -> str:
    """The block of that language in docs/deploy.md."""
    found = re.findall(rf"^```{language}\n(.*?)^```", DEPLOY, re.M | re.S)
    assert len(found) == 1
    return str(found[0])


def options_of(argv: list[str]) -> set[str]:
    return {word for word in argv if word.startswith("--")}


@pytest.mark.parametrize("folder", [ROOT, SPACE], ids=["image", "space"])
def test_images_are_careful(image: ModuleType, folder: Path) -> None:
    text = (folder / "Dockerfile").read_text(encoding="utf-8")
    said = said_of(image, folder)
    user, _, group = said["USER"].partition(":")
    assert int(user) > 0, "not root"
    assert int(group) > 0, "not root"
    assert text.index("USER ") > text.rindex("RUN "), "nothing is installed that its user may write"
    assert command(image, folder)[:2] == ["emovox", "serve"]
    assert "ADD" not in said
    for name, rest in image.instructions(text):
        if name == "RUN" and "pip " in rest:
            assert "--no-cache-dir" in rest
            assert "COPY" not in said or "pip install" not in rest or "--mount=type=bind" in rest, (
                "a wheel that is copied stays in its layer"
            )


def test_the_images_health_is_asked_at_its_port(image: ModuleType) -> None:
    said = said_of(image, ROOT)
    argv = command(image, ROOT)
    port = argv[argv.index("--port") + 1]
    assert said["EXPOSE"] == port
    code = image.json.loads(said["HEALTHCHECK"][said["HEALTHCHECK"].index("CMD ") + 4 :])[2]
    assert f"'127.0.0.1', {port}" in code
    compile(code, "HEALTHCHECK", "exec")


def test_the_image_sees_what_it_copies_and_nothing_else(image: ModuleType) -> None:
    copied = [
        word
        for name, rest in image.instructions((ROOT / "Dockerfile").read_text(encoding="utf-8"))
        if name == "COPY"
        for word in shlex.split(rest)[:-1]
    ]
    assert {"src", "pyproject.toml"} <= set(copied)
    assert not [name for name in copied if image.left_out(ROOT, name) or not (ROOT / name).exists()]
    seen = {path.name for path in ROOT.iterdir() if not image.left_out(ROOT, path.name)}
    assert seen == set(copied)


def test_every_option_that_is_told_exists(image: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--help"]) == 0
    known = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    unit = re.search(r"^ExecStart=(.*)$", DEPLOY, re.M)
    assert unit is not None
    told = [*command(image, ROOT), *command(image, SPACE), *shlex.split(unit[1])]
    told += re.findall(r"`(--[a-z-]+)[ `]", DEPLOY)  # in the tables and the text
    assert options_of(told) >= {"--host", "--api-key-env", "--max-upload-mb"}
    assert options_of(told) <= known


def test_the_unit_is_read_by_systemds_rules() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(block("ini"))
    assert unit.sections() == ["Unit", "Service", "Install"]
    service = unit["Service"]
    assert service["DynamicUser"] == service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    forbidden = re.findall(r"^SystemCallFilter=~(.*)$", block("ini"), re.M)
    assert "@resources" not in " ".join(forbidden) or service["SystemCallErrorNumber"] == "EPERM", (
        "OpenBLAS calls mbind: refused it goes on, without an error it is killed"
    )
    assert int(service["LimitNOFILE"]) >= 8192, "a connection is a file"
    assert int(service["TimeoutStopSec"]) > ServerSettings().drain_s, "or it is killed while it finishes"


def test_proxies_let_pass_what_the_server_takes_and_wait_as_long() -> None:
    nginx, caddy = block("nginx"), block("caddyfile")
    for text, size in ((nginx, r"client_max_body_size (\d+)m;"), (caddy, r"max_size (\d+)MB")):
        assert (
            ServerSettings().max_upload_mb
            < int(re.findall(size, text)[0])
            < 2 * ServerSettings().max_upload_mb
        )
        assert text.count("{") == text.count("}")
        assert "X-Forwarded-For" in text
    wait_s = int(re.findall(r"proxy_read_timeout (\d+)s;", nginx)[0])
    assert wait_s > max(ServerSettings().stream_idle_s, ServerSettings().upload_timeout_s)
    assert "proxy_set_header Upgrade $http_upgrade;" in nginx
    hours = int(re.findall(r"stream_timeout (\d+)h", caddy)[0])
    assert 3600 * hours > ServerSettings().max_stream_s


def test_metrics_that_are_told_exist() -> None:
    from emovox.server.monitoring import Metrics

    metrics = Metrics()
    metrics.count_error("overloaded")
    metrics.count_request("/v1/predict", "POST", 200, 0.1)
    text = metrics.text().decode()
    names = set(re.findall(r"\bemovox_[a-z_]+", DEPLOY))
    assert len(names) >= 4
    assert not {name for name in names if not re.search(rf"^{name}[ {{]", text, re.M)}


# ------------------------------------------------------------------------------------ the Space


def front_matter(text: str) -> dict[str, str]:
    _, matter, _ = text.split("---\n", 2)
    return dict(line.split(": ", 1) for line in matter.splitlines())


def test_the_hub_finds_the_spaces_port(image: ModuleType) -> None:
    text = (SPACE / "README.md").read_text(encoding="utf-8")
    matter, argv = front_matter(text), command(image, SPACE)
    assert matter["sdk"] == "docker"
    assert matter["app_port"] == argv[argv.index("--port") + 1] == said_of(image, SPACE)["EXPOSE"]
    assert len(matter["short_description"]) <= 60  # the Hub's limit
    assert "expresses" in text
    assert "Art. 5(1)(f)" in text
    assert "Art. 50(3)" in text


@contextmanager
def running(argv: list[str]) -> Iterator[int]:
    """The port of that command, at a loopback port that is free; it must end by itself when it is told to."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [*argv[1:], "--host", "127.0.0.1", "--port", str(port)]  # the last of each counts
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "emovox", *argv], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        end_s = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end_s:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)  # uvicorn raises it again once all is finished
    finally:
        process.kill()
        process.communicate()


def asked(port: int, path: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_the_space_starts_and_shows_the_page(image: ModuleType) -> None:
    with running(command(image, SPACE)) as port:
        assert asked(port, "/healthz") == (200, '{"status":"ok"}')
        status, page = asked(port, "/")
        assert status == 200
        assert "<title>emovox" in page
        assert NOTICE.partition(".")[0] in page
        status, models = asked(port, "/v1/models")
        assert status == 200
        assert {each["name"] for each in image.json.loads(models)["models"]} == {"default", "permissive"}
