"""An S3-compatible server on loopback, known by the environment as a real one would be."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

__all__ = ["BUCKET", "s3_server", "store"]

BUCKET = "s3://voices"


@contextmanager
def s3_server() -> Iterator[Any]:
    """A server with one bucket; skips the test where moto or s3fs are missing."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-tests")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        store(BUCKET).clear_instance_cache()
        if not store(BUCKET).exists(BUCKET):  # all servers of a process have one memory
            store(BUCKET).mkdir(BUCKET)
        yield server
        store(BUCKET).clear_instance_cache()
    server.stop()


def store(place: str) -> Any:
    """The file system of a URL, which remembers no listing."""
    import fsspec

    return fsspec.filesystem(place.partition("://")[0], use_listings_cache=False)
