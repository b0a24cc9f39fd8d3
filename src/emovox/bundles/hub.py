"""Bundles on the Hugging Face Hub (extra ``hub``): download by name, upload on demand.

``hf://owner/name`` or ``hf://owner/name@revision`` names a repository; ``spec.json`` and ``model.onnx`` are
downloaded from it, of one commit, and nothing else. They stay in Hugging Face's own cache. The size that the
Hub announces is bounded, and the model must have the sha256 of the spec; other files are deleted.

Read from the environment at each call: ``HF_TOKEN`` (for private repositories and for pushing; only this one,
not the one that ``hf auth login`` stores), ``HF_ENDPOINT``, ``HF_HUB_CACHE``, and ``EMOVOX_OFFLINE`` or
``HF_HUB_OFFLINE``, with which only the cache is used. The cache also serves when the Hub cannot be reached.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import socket
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import emovox
from emovox.bundles import MAX_MODEL_BYTES, MAX_SPEC_BYTES, MODEL_FILE, SPEC_FILE, load_bundle, read_spec
from emovox.bundles.card import find_objections, make_card, make_licence_notice
from emovox.errors import (
    BundleCorruptError,
    BundleNotFoundError,
    ConfigError,
    DownloadError,
    EmovoxError,
    MissingExtraError,
    UploadError,
)

__all__ = ["SCHEME", "Address", "fetch", "is_offline", "parse_address", "push"]

SCHEME = "hf://"
"""Prefix of names of repositories on the Hub."""

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_REVISION = r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}"
_YES = ("1", "on", "true", "yes")

_CONNECT_S = 1.2
"""Seconds to wait for a connection to the Hub."""


@dataclass(frozen=True, slots=True)
class Address:
    """A repository on the Hub, and one of its revisions."""

    repo: str
    """``owner/name``."""
    revision: str | None = None
    """A branch, a tag or a commit; ``None`` for the main branch."""

    def __str__(self) -> str:
        return f"{SCHEME}{self.repo}" + (f"@{self.revision}" if self.revision else "")


def parse_address(name: str) -> Address:
    """Read ``hf://owner/name[@revision]``; ``hf://`` may be left out.

    Raises:
        ConfigError: it is no such name.
    """
    found = re.fullmatch(rf"({_PART}/{_PART})(?:@({_REVISION}))?", name.removeprefix(SCHEME))
    if not found or ".." in name:
        raise ConfigError(
            f"{name!r} names no repository on the Hugging Face Hub; expected {SCHEME}owner/name, or "
            f"{SCHEME}owner/name@revision"
        )
    return Address(found[1], found[2])


def is_offline() -> bool:
    """Whether ``EMOVOX_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids the network."""
    return any(os.environ.get(name, "").lower() in _YES for name in ("EMOVOX_OFFLINE", "HF_HUB_OFFLINE"))


def fetch(name: str) -> Path:
    """Download a bundle into Hugging Face's cache, unless it is there, and verify it.

    Args:
        name: ``hf://owner/name`` or ``hf://owner/name@revision``.

    Returns:
        Its folder in the cache.

    Raises:
        ConfigError: it is no such name.
        MissingExtraError: the extra ``hub`` is not installed.
        BundleNotFoundError: no such repository, revision or file; or not in the cache, and offline.
        BundleCorruptError: a file is too large, or does not match the spec; it was deleted.
        DownloadError: the Hub cannot be reached, or fails.
    """
    where = parse_address(name)
    _require_hub()
    can_connect = _connect(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    from huggingface_hub import hf_hub_download  # noqa: F401 (loads while the connection is made)

    local = is_offline() or not can_connect()
    spec = _download(where, SPEC_FILE, where.revision, MAX_SPEC_BYTES, local=local)
    # The model of the same commit: a push between two downloads must not mix them.
    _download(where, MODEL_FILE, spec.parent.name, MAX_MODEL_BYTES, local=local)
    _verify(where, spec.parent)
    return spec.parent


def push(
    folder: str | os.PathLike[str],
    name: str,
    *,
    private: bool = False,
    licence: str | None = None,
    force: bool = False,
    behaviour: str = "",
) -> str:
    """Upload a bundle to the Hub with its card and licence notice, as one commit.

    Args:
        folder: of the bundle.
        name: ``owner/name`` or ``owner/name@branch``; the repository and the branch are created if
            necessary.
        private: create a private repository; an existing public one is refused.
        licence: of the weights, where the spec's is to be replaced.
        force: upload in spite of `card.find_objections`.
        behaviour: a section of the card, in Markdown: see `emovox.reports.behaviour.card_section`.

    Returns:
        The address of the commit.

    Raises:
        ConfigError: the name is none, or there are objections and ``force`` is false.
        BundleError: there is no bundle, or it is damaged.
        MissingExtraError: the extra ``hub`` is not installed.
        UploadError: no token, offline, or the Hub refuses.
    """
    where = parse_address(name)
    spec = load_bundle(folder).spec  # a damaged one is not uploaded
    if licence is not None:
        spec = replace(spec, licence=replace(spec.licence, weights=licence))
    if (why := find_objections(spec)) and not force:
        raise ConfigError(
            f"{spec.name} is not pushed: {'; '.join(why)}; or push it all the same with --force"
        )
    _require_hub()
    if is_offline():
        raise UploadError(f"{where}: EMOVOX_OFFLINE or HF_HUB_OFFLINE is set; unset it to push")
    if not _token():
        raise UploadError(f"{where}: HF_TOKEN is not set; expected a token of the Hub that may write")
    files = {
        "README.md": make_card(spec, where.repo, behaviour=behaviour).encode(),
        "LICENSE": make_licence_notice(spec).encode(),
        MODEL_FILE: (Path(folder) / MODEL_FILE).read_bytes(),
        SPEC_FILE: spec.to_json().encode(),
    }
    try:
        return _commit(where, files, f"{spec.name} {spec.version}", private=private)
    except EmovoxError:
        raise
    except Exception as error:  # as in _file
        raise UploadError(f"{where}: {_sentence(error)}") from None


# ---------------------------------------------------------------------------------------------- the Hub


def _require_hub() -> None:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise MissingExtraError("a model on the Hugging Face Hub", "hub")


def _token() -> str | None:
    return os.environ.get("HF_TOKEN", "").strip() or None


def _download(where: Address, file: str, revision: str | None, limit: int, *, local: bool) -> Path:
    """Return a file in the cache, downloaded unless ``local`` when the Hub has a newer one."""
    from huggingface_hub import hf_hub_download

    options: dict[str, Any] = {
        "repo_id": where.repo,
        "filename": file,
        "revision": revision,
        "token": _token() or False,  # False: not even one that is stored on this machine
        "endpoint": os.environ.get("HF_ENDPOINT") or None,
        "cache_dir": os.environ.get("HF_HUB_CACHE") or None,
        "local_files_only": local,
        "library_name": "emovox",
        "library_version": emovox.__version__,
    }
    try:
        if not local:
            _check_size(where, file, hf_hub_download(**options, dry_run=True).file_size, limit)
        return Path(hf_hub_download(**options))
    except EmovoxError:
        raise
    # The errors of its HTTP library, which has changed twice, share no base with its own.
    # Not "from error": what these print may quote the header that holds the token.
    except Exception as error:
        raise _explain_download(error, where, file, offline=is_offline()) from None


def _connect(endpoint: str) -> Callable[[], bool]:
    """Begin to connect, since Hugging Face's library retries for half a minute.

    Returns:
        A function that waits for the connection, up to ``_CONNECT_S`` from now; whether there is one.
    """
    url = urllib.parse.urlsplit(endpoint)
    if is_offline() or url.hostname is None or urllib.request.getproxies():  # a proxy connects in our place
        return lambda: True
    address = url.hostname, url.port or (80 if url.scheme == "http" else 443)
    connected = threading.Event()

    def connect() -> None:
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=_CONNECT_S):
            connected.set()

    # In a thread, since the look-up of the name has no time limit.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    deadline_s = time.monotonic() + _CONNECT_S

    def wait() -> bool:
        thread.join(max(0.0, deadline_s - time.monotonic()))
        return connected.is_set()

    return wait


def _check_size(where: Address, file: str, size: int | None, limit: int) -> None:
    if size is None or size > limit:
        size_text = "does not say its size" if size is None else f"has {size:,} bytes"
        raise BundleCorruptError(f"{where}: {file} {size_text}; at most {limit:,} are accepted")


def _verify(where: Address, folder: Path) -> None:
    """Delete what does not match the spec, or it would stay in the cache for ever."""
    try:
        spec = read_spec(folder)
        with (folder / MODEL_FILE).open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found == spec.sha256:
            return
        why = f"{MODEL_FILE} has the sha256 {found[:12]}..., {SPEC_FILE} says {spec.sha256[:12]}..."
    except BundleCorruptError as error:
        why = str(error)
    for link in (folder / SPEC_FILE, folder / MODEL_FILE):
        link.resolve().unlink(missing_ok=True)
        link.unlink(missing_ok=True)
    raise BundleCorruptError(f"{where}: {why}; the download was deleted; load it again, or tell its owner")


def _commit(where: Address, files: Mapping[str, bytes], message: str, *, private: bool) -> str:
    from huggingface_hub import CommitOperationAdd, HfApi

    hub = HfApi(
        endpoint=os.environ.get("HF_ENDPOINT") or None,
        token=_token(),
        library_name="emovox",
        library_version=emovox.__version__,
    )
    hub.create_repo(where.repo, private=private, exist_ok=True)
    if private and not hub.repo_info(where.repo).private:
        raise UploadError(f"{where}: it is there already, and public; make it private, or name another")
    if where.revision:
        hub.create_branch(where.repo, branch=where.revision, exist_ok=True)
    added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=data) for name, data in files.items()]
    done = hub.create_commit(where.repo, added, commit_message=message, revision=where.revision)
    return str(done.commit_url)


# ---------------------------------------------------------------------------------------------- errors


def _explain_download(error: Exception, where: Address, file: str, *, offline: bool) -> EmovoxError:
    """The error of a failed download."""
    from huggingface_hub import errors as hub

    if isinstance(error, hub.RemoteEntryNotFoundError):
        return BundleNotFoundError(f"{where}: no {file} there, so it is no bundle of emovox")
    if isinstance(error, (hub.RepositoryNotFoundError, hub.RevisionNotFoundError)):
        return BundleNotFoundError(f"{where}: {_sentence(error)}")
    if isinstance(error, hub.LocalEntryNotFoundError) and offline:
        return BundleNotFoundError(
            f"{where}: {file} is not in the cache, and EMOVOX_OFFLINE or HF_HUB_OFFLINE is set; load it once "
            "without"
        )
    return DownloadError(f"{where}: {file} could not be fetched: {_sentence(error)}")


def _sentence(error: Exception) -> str:
    """What happened and what to do, without the token."""
    from huggingface_hub import errors as hub

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, hub.GatedRepoError):
        return "its owner asks for consent; give it on the Hub, and set HF_TOKEN"
    if isinstance(error, hub.RevisionNotFoundError):
        return "the repository has no such revision"
    if isinstance(error, hub.RepositoryNotFoundError):
        return f"no such repository, or a private one ({status}): check the name, or set HF_TOKEN"
    if status in (401, 403):
        return f"HF_TOKEN is refused ({status}); expected one that may do this"
    if status is not None:
        return f"the Hub answers {status}; try again later"
    cause = error.__cause__
    if isinstance(error, hub.LocalEntryNotFoundError):
        inner = getattr(getattr(cause, "response", None), "status_code", None)
        if inner is not None:
            cause_text = f"it answers {inner}"
        else:  # without a connection, the library is not asked to make one
            no_connection = isinstance(cause or error, hub.LocalEntryNotFoundError)
            cause_text = "no connection" if no_connection else type(cause).__name__
        return f"the Hub cannot be reached ({cause_text}), and nothing is in the cache; try again later"
    return f"{type(error).__name__}: {_without_token(' '.join(str(error).split())[:200])}"


def _without_token(text: str) -> str:
    token = os.environ.get("HF_TOKEN", "")
    for secret in {token, token.strip(), *token.split()} - {""}:
        text = text.replace(secret, "***")
    return text
