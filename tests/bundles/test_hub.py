"""Bundles come from the Hub and go there: against a stand-in on this machine that speaks its HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

import emovox
from conftest import tiny_spec
from emovox.bundles import Score, Spec, hub, registry, write_bundle
from emovox.bundles.card import find_licence_id, find_objections, make_card, make_licence_notice
from emovox.cli import main
from emovox.errors import (
    BundleCorruptError,
    BundleNotFoundError,
    ConfigError,
    DownloadError,
    MissingExtraError,
    UploadError,
)
from emovox.reports.behaviour import card_section

pytest.importorskip("huggingface_hub")

TOKEN = "hf_secretsecret"
NAME = "hf://someone/voice"
COMMIT = "1" * 40
SPEECH = Path(__file__).parents[2] / "tests" / "synthetic" / "happy.flac"


@dataclass
class Repo:
    """One repository of the stand-in."""

    revisions: dict[str, tuple[str, dict[str, bytes]]] = field(default_factory=dict)
    """Branch or commit -> (commit, files)."""
    private: bool = False

    def put(self, revision: str, commit: str, files: dict[str, bytes]) -> None:
        self.revisions[revision] = self.revisions[commit] = (commit, files)


@dataclass
class Hub:
    """The stand-in: what it holds, what it was asked, and how it is made to fail."""

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    failing: int = 0
    """Status that every answer has, where it is not 0."""
    cuts: int = 0
    """How many downloads break off halfway."""
    sizes: dict[str, int] = field(default_factory=dict)
    """File -> bytes that it pretends to have."""

    def fetched(self) -> list[str]:
        """Files of repositories that were downloaded."""
        files = [path for method, path in self.asked if method == "GET" and "/resolve/" in path]
        return [path.rpartition("/")[2] for path in files]


class Handler(BaseHTTPRequestHandler):
    """The part of the Hub's HTTP interface that loading and pushing use."""

    protocol_version = "HTTP/1.1"
    hub: ClassVar[Hub]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._resolve(self._path())

    def do_GET(self) -> None:
        path = self._path()
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)", path)
        if found and found[1] in self.hub.repos:
            self._json(200, {"id": found[1], "private": self.hub.repos[found[1]].private, "sha": COMMIT})
        else:
            self._resolve(path)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self._path()
        if self.hub.failing:
            self._json(self.hub.failing, {"error": "broken"})
        elif path == "/api/validate-yaml":
            self._json(200, {"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._json(401, {"error": "Invalid credentials"})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(branch|preupload|commit)/(.+)", path):
            getattr(self, f"_{found[2]}")(found[1], unquote(found[3]), body)
        else:
            self._json(404, {"error": path})

    def _path(self) -> str:
        path = urlsplit(self.path).path
        self.hub.asked.append((self.command, path))
        return path

    def _resolve(self, path: str) -> None:
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repo = self.hub.repos.get(found[1]) if found else None
        if self.hub.failing:
            return self._json(self.hub.failing, {"error": "broken"})
        closed = repo is not None and repo.private and self.headers.get("Authorization") != f"Bearer {TOKEN}"
        if found is None or repo is None or closed:
            return self._json(401 if closed else 404, {"error": "no"}, {"X-Error-Code": "RepoNotFound"})
        commit, files = repo.revisions.get(unquote(found[2]), ("", {}))
        if not commit:
            return self._json(404, {"error": "no"}, {"X-Error-Code": "RevisionNotFound"})
        if found[3] not in files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
            return self._json(404, {"error": "no"}, headers)
        self._file(found[3], files[found[3]], commit)

    def _file(self, name: str, data: bytes, commit: str) -> None:
        first = int(found[1]) if (found := re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
        size = self.hub.sizes.get(name, len(data) - first)
        self.send_response(206 if first else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("Content-Length", str(size))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "GET":
            if self.hub.cuts and name == "model.onnx":
                self.hub.cuts -= 1
                self.close_connection = True
                data = data[: first + (len(data) - first) // 2]
            self.wfile.write(data[first:])

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        there = name in self.hub.repos
        private = bool(wanted.get("private")) or wanted.get("visibility") == "private"
        self.hub.repos.setdefault(name, Repo(private=private))
        self._json(409 if there else 200, {"url": f"{self.hub.url}/{name}"})

    def _branch(self, name: str, revision: str, body: bytes) -> None:
        repo = self.hub.repos[name]
        there = revision in repo.revisions
        repo.revisions.setdefault(revision, (COMMIT, {}))
        self._json(409 if there else 200, {})

    def _preupload(self, name: str, revision: str, body: bytes) -> None:
        files = [
            {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
            for one in json.loads(body)["files"]
        ]
        self._json(200, {"files": files})

    def _commit(self, name: str, revision: str, body: bytes) -> None:
        lines = [json.loads(line) for line in body.splitlines()]
        files = {
            one["value"]["path"]: base64.b64decode(one["value"]["content"])
            for one in lines
            if one["key"] == "file"
        }
        commit = hashlib.sha1(body).hexdigest()
        self.hub.repos[name].put(revision, commit, files)
        self._json(200, {"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit})

    def _json(self, status: int, value: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for key, text in ({"Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(key, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub on this machine, which huggingface_hub is sent to; with a cache of its own."""
    made = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": made}))
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    for name in ("EMOVOX_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # before huggingface_hub tries once more
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def files(tiny_bundle: Path) -> dict[str, bytes]:
    """What a repository of a bundle holds, and a stranger's file."""
    return {path.name: path.read_bytes() for path in tiny_bundle.iterdir()} | {"evil.py": b"boom"}


@pytest.fixture
def voice(stand_in: Hub, files: dict[str, bytes]) -> Hub:
    """A Hub that holds a bundle."""
    stand_in.repos["someone/voice"] = Repo()
    stand_in.repos["someone/voice"].put("main", COMMIT, files)
    return stand_in


def answer(model: str | Path) -> Any:
    x = np.random.default_rng(0).standard_normal(16_000) * 0.1
    return emovox.load(model, vad="off").predict(x, sample_rate=16_000)


# ---------------------------------------------------------------------------------------------- from it


def test_a_bundle_of_the_hub_is_the_bundle(voice: Hub, tiny_bundle: Path) -> None:
    assert answer(NAME) == answer(tiny_bundle)
    assert sorted(voice.fetched()) == ["model.onnx", "spec.json"], "nothing else is fetched"


def test_what_is_cached_is_not_fetched_again_and_serves_offline(
    voice: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = hub.fetch(NAME)
    assert hub.fetch(NAME) == first
    assert len(voice.fetched()) == 2
    for variable in ("EMOVOX_OFFLINE", "HF_HUB_OFFLINE"):
        n = len(voice.asked)
        monkeypatch.setenv(variable, "1")
        assert hub.fetch(NAME) == first
        assert len(voice.asked) == n, "offline means that nobody is asked"
        monkeypatch.delenv(variable)


def test_a_hub_that_fails_leaves_the_cache(voice: Hub) -> None:
    first = hub.fetch(NAME)
    voice.failing = 500
    assert hub.fetch(NAME) == first


def test_offline_without_a_copy_says_so(voice: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOVOX_OFFLINE", "1")
    with pytest.raises(BundleNotFoundError, match="not in the cache, and EMOVOX_OFFLINE"):
        hub.fetch(NAME)
    assert voice.asked == []


def test_a_new_commit_is_fetched_and_an_old_one_stays(voice: Hub, files: dict[str, bytes]) -> None:
    old = hub.fetch(NAME)
    spec = Spec.from_json(files["spec.json"])
    newer = files | {"spec.json": replace(spec, version="2").to_json().encode()}
    voice.repos["someone/voice"].put("main", "2" * 40, newer)
    assert emovox.load(NAME).spec.version == "2"
    assert hub.fetch(f"{NAME}@{COMMIT}") == old
    assert emovox.load(f"{NAME}@{COMMIT}").spec.version == "1"


def test_a_push_between_two_downloads_does_not_mix_commits(voice: Hub, files: dict[str, bytes]) -> None:
    repo = voice.repos["someone/voice"]
    real = hub._download

    def meanwhile(*args: Any, **options: Any) -> Path:
        path = real(*args, **options)
        repo.put("main", "2" * 40, files | {"model.onnx": b"another"})
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub, "_download", meanwhile)
        assert hub.fetch(NAME).name == COMMIT


@pytest.mark.parametrize("file", ["model.onnx", "spec.json"])
def test_damaged_file_is_refused_and_deleted(voice: Hub, files: dict[str, bytes], file: str) -> None:
    repo = voice.repos["someone/voice"]
    repo.put("main", COMMIT, files | {file: files[file][:-9] + b"damaged!!"})
    with pytest.raises(BundleCorruptError, match="download was deleted"):
        emovox.load(NAME)
    repo.put("main", COMMIT, files)  # as after a repair: the cache must not stand in the way
    assert emovox.load(NAME).labels


@pytest.mark.parametrize("file", ["model.onnx", "spec.json"])
def test_a_missing_file_is_named(voice: Hub, files: dict[str, bytes], file: str) -> None:
    voice.repos["someone/voice"].put("main", COMMIT, {k: v for k, v in files.items() if k != file})
    with pytest.raises(BundleNotFoundError, match=rf"no {file} there"):
        hub.fetch(NAME)


def test_a_file_too_large_is_not_fetched(voice: Hub) -> None:
    voice.sizes["spec.json"] = 1 << 21
    with pytest.raises(BundleCorruptError, match=r"2,097,152 bytes; at most 1,048,576"):
        hub.fetch(NAME)
    assert voice.fetched() == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("hf://someone/nothing", "no such repository, or a private one"),
        (f"{NAME}@nowhere", "no such revision"),
        (f"{NAME}@{'9' * 40}", "no such revision"),
    ],
)
def test_what_the_hub_does_not_have(voice: Hub, name: str, why: str) -> None:
    with pytest.raises(BundleNotFoundError, match=why):
        hub.fetch(name)


@pytest.mark.parametrize(
    "name",
    [
        "hf://",
        "hf://voice",
        "hf://a/b/c",
        "hf://../x",
        "hf://a/b@",
        "hf://a/b@../x",
        "hf://a/b?x",
        "hf://a/b\n",
    ],
)
def test_a_name_that_is_none(stand_in: Hub, name: str) -> None:
    with pytest.raises(ConfigError, match="expected hf://owner/name"):
        registry.find(name)
    assert stand_in.asked == []


def test_a_private_repository_wants_the_token(voice: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    voice.repos["someone/voice"].private = True
    with pytest.raises(BundleNotFoundError, match="set HF_TOKEN"):
        hub.fetch(NAME)
    monkeypatch.setenv("HF_TOKEN", f" {TOKEN}\n")
    assert hub.fetch(NAME).name == COMMIT


def test_a_failing_hub_is_named_and_the_token_is_not(voice: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    voice.failing = 500
    with pytest.raises(DownloadError, match="answers 500") as told:
        hub.fetch(NAME)
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__


def test_a_token_that_no_header_can_hold_is_not_quoted(voice: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\n{TOKEN}")
    with pytest.raises(DownloadError) as told:
        hub.fetch(NAME)
    assert TOKEN not in str(told.value)


def test_unreachable_hub_fails_at_once(voice: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    started = time.monotonic()
    for endpoint in ("http://127.0.0.1:9", "http://192.0.2.1"):  # refused; no answer (RFC 5737)
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        with pytest.raises(DownloadError, match="cannot be reached"):
            hub.fetch(NAME)
    assert time.monotonic() - started < 6


def test_one_connection_is_tried_for_both_files(voice: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.fetch(NAME)
    tried = []

    def refuse(address: Any, timeout: float) -> Any:
        tried.append(timeout)
        raise OSError

    monkeypatch.setattr(hub.socket, "create_connection", refuse)
    assert hub.fetch(NAME).name == COMMIT  # of the cache
    assert len(tried) == 1
    assert tried[0] < 1.5
    with pytest.raises(DownloadError, match=r"cannot be reached \(no connection\)"):
        hub.fetch("hf://someone/else")


def test_a_cut_transfer_goes_on_or_fails_whole(voice: Hub, tiny_bundle: Path) -> None:
    voice.cuts = 1
    assert answer(NAME) == answer(tiny_bundle)
    voice.repos["someone/voice"].revisions["main"] = ("3" * 40, {})
    data = {p.name: p.read_bytes() for p in tiny_bundle.iterdir()}
    voice.repos["other/voice"] = Repo({"main": ("4" * 40, data)})
    voice.repos["other/voice"].put("main", "4" * 40, data)
    voice.cuts = 10**6
    with pytest.raises(DownloadError, match=r"model\.onnx could not be fetched"):
        hub.fetch("hf://other/voice")
    voice.cuts = 0
    assert emovox.load("hf://other/voice").labels


def test_without_the_extra(voice: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\[hub\]"):
        emovox.load(NAME)


def test_the_command_predicts_with_a_model_of_the_hub(voice: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--model", NAME, "--format", "json", str(SPEECH)]) == 0
    assert json.loads(capfd.readouterr().out)
    assert main(["predict", "--model", "hf://someone/nothing", str(SPEECH)]) == 2
    assert "no such repository" in capfd.readouterr().err


def test_local_names_do_not_load_the_hub(tiny_bundle: Path) -> None:
    import subprocess

    code = f"import sys, emovox; emovox.load({str(tiny_bundle)!r}); print('huggingface_hub' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ---------------------------------------------------------------------------------------------- to it


@pytest.fixture
def writer(stand_in: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return stand_in


def test_what_was_pushed_can_be_loaded(writer: Hub, tiny_bundle: Path) -> None:
    where = hub.push(tiny_bundle, "someone/new")
    assert where.startswith(writer.url)
    commit, sent = writer.repos["someone/new"].revisions["main"]
    assert set(sent) == {"README.md", "LICENSE", "model.onnx", "spec.json"}
    assert where.endswith(commit)
    assert answer("hf://someone/new") == answer(tiny_bundle)
    again = hub.push(tiny_bundle, "someone/new")
    assert again.startswith(writer.url), "a repository that is there is pushed to"


def test_a_run_is_pushed_to_a_branch(
    writer: Hub, tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "bundle").symlink_to(tiny_bundle)
    argv = ["push", str(tmp_path / "run"), "someone/new", "--private", "--revision", "v2", "--licence", "MIT"]
    assert main(argv) == 0
    assert "emovox predict --model hf://someone/new@v2" in capfd.readouterr().out
    assert writer.repos["someone/new"].private
    sent = writer.repos["someone/new"].revisions["v2"][1]
    assert Spec.from_json(sent["spec.json"]).licence.weights == "MIT"
    assert b'license: "mit"' in sent["README.md"]
    assert emovox.load("hf://someone/new@v2").spec.licence.weights == "MIT"


def test_card_has_behaviour_of_this_model(
    writer: Hub, tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from emovox.evaluation.behaviour import check_behaviour, read_tests, select_tests

    push = ["push", str(tiny_bundle), "someone/new", "--check", str(tmp_path)]
    assert main(push) == 2
    assert "expected a folder of emovox check" in capfd.readouterr().err
    tests = select_tests(read_tests(), ["labelled clips", "gain -12 dB"])
    found = check_behaviour(tiny_bundle, recordings=[Path(__file__).parents[2] / "examples"], tests=tests)
    found.write(tmp_path)
    assert main(push) == 0
    card = writer.repos["someone/new"].revisions["main"][1]["README.md"].decode()
    assert f"## Behaviour\n\n{card_section(found.document)}\n" in card
    document = (tmp_path / "behaviour.json").read_text().replace(found.document["model"]["sha256"], "0" * 64)
    (tmp_path / "behaviour.json").write_text(document)
    assert main(push) == 2
    assert "is of another model" in capfd.readouterr().err
    for broken in ("{", "[]", '{"model": {}}'):
        (tmp_path / "behaviour.json").write_text(broken)
        assert main(push) == 2
        assert "is no result of emovox check" in capfd.readouterr().err


def test_private_is_not_pushed_in_public(writer: Hub, tiny_bundle: Path) -> None:
    writer.repos["someone/open"] = Repo()
    with pytest.raises(UploadError, match="there already, and public"):
        hub.push(tiny_bundle, "someone/open", private=True)
    assert writer.repos["someone/open"].revisions == {}


@pytest.mark.parametrize(("token", "why"), [("", "HF_TOKEN is not set"), ("hf_other", "HF_TOKEN is refused")])
def test_pushing_wants_a_token(
    stand_in: Hub, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, token: str, why: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UploadError, match=why):
        hub.push(tiny_bundle, "someone/new")
    assert stand_in.repos == {}


def test_pushing_fails_with_a_sentence(
    writer: Hub, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.failing = 503
    with pytest.raises(UploadError, match="answers 503"):
        hub.push(tiny_bundle, "someone/new")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UploadError, match="unset it to push"):
        hub.push(tiny_bundle, "someone/new")


CONTAMINATED = Score(corpus="x", protocol="given (contaminated)", metric="uar", value=0.99)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"corpora": ()}, "which corpora"),
        ({"scores": (CONTAMINATED,)}, "contaminated"),
        ({"licence": replace(tiny_spec().licence, weights="as its corpora")}, "--licence"),
    ],
)
def test_what_should_not_be_published_is_not(
    writer: Hub, tiny_bundle: Path, tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    model = (tiny_bundle / "model.onnx").read_bytes()
    write_bundle(tmp_path / "b", model, tiny_spec(**changes))
    with pytest.raises(ConfigError, match=why):
        hub.push(tmp_path / "b", "someone/new")
    assert writer.asked == []
    hub.push(tmp_path / "b", "someone/new", force=True)
    assert "someone/new" in writer.repos


def test_a_damaged_bundle_is_not_handed_on(writer: Hub, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_bytes((tiny_bundle / "spec.json").read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"other")
    with pytest.raises(BundleCorruptError):
        hub.push(tmp_path, "someone/new")
    assert writer.asked == []


# ---------------------------------------------------------------------------------------------- the card


def test_the_card_of_the_default_model_says_what_it_must() -> None:
    if not (registry.EMBEDDED / registry.DEFAULT / "spec.json").exists():
        pytest.skip("the default model is not in this tree")
    yaml = pytest.importorskip("yaml")
    spec = registry.models()[0].spec
    text = make_card(spec, "someone/voice")
    head = yaml.safe_load(text.split("---")[1])
    assert head["license"] == "cc-by-nc-sa-4.0"
    assert head["pipeline_tag"] == "audio-classification"
    for needed in ("**expressed emotion**", "Art. 5(1)(f)", "Art. 50(3)", "Limits", "hf://someone/voice"):
        assert needed in text
    rows = [line for line in text.splitlines() if line.startswith("| ") and "| uar |" in line]
    assert len(rows) == sum(score.metric == "uar" for score in spec.scores)
    assert find_objections(spec) == []
    assert "RAVDESS" in make_licence_notice(spec)


def test_a_licence_that_the_hub_does_not_know_is_other() -> None:
    assert find_licence_id("CC BY-NC-SA 4.0") == "cc-by-nc-sa-4.0"
    assert find_licence_id("ask me") is None
    spec = tiny_spec(licence=replace(tiny_spec().licence, weights='ask "me": #1'))
    head = pytest.importorskip("yaml").safe_load(make_card(spec, "a/b").split("---")[1])
    assert head["license"] == "other"
    assert head["license_name"] == "ask-me-1"
    assert head["license_link"] == "LICENSE"


def test_text_of_a_spec_breaks_no_table() -> None:
    spec = tiny_spec(scores=(Score(corpus="a|b\nc", protocol="p", metric="uar", value=0.5),))
    assert "| a\\|b c | p | uar | 0.500 |" in make_card(spec, "a/b")
