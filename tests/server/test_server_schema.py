"""The server keeps to its OpenAPI document, whatever is sent: schemathesis makes requests of it and looks.

``EMOVOX_EXAMPLES=500 pytest tests/test_serve_schema.py`` looks longer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from starlette.testclient import TestClient

from emovox.server.app import create_app
from emovox.server.settings import ServerSettings

N_EXAMPLES = int(os.environ.get("EMOVOX_EXAMPLES", "10"))
KEY = "k" * 32
HEADERS = {"X-API-Key": KEY, "Authorization": f"Bearer {KEY}"}
OPERATIONS = [
    *(("/v1/predict", "POST"), ("/v1/timeline", "POST"), ("/v1/explain", "POST"), ("/v1/labels", "POST")),
    ("/v1/models", "GET"),
    *(("/metrics", "GET"), ("/healthz", "GET"), ("/readyz", "GET")),
]

load_all_checks()
POSITIVE = CHECKS.get_one("positive_data_acceptance")
"""A random body is valid by its schema, and yet no sound: what is refused then is no fault."""


@pytest.fixture(scope="module")
def api(make_bundle: Callable[..., Path]) -> Iterator[Any]:
    app = create_app(ServerSettings(models=(str(make_bundle()),), api_key=KEY, max_upload_mb=1.0))
    with TestClient(app):  # keeps it started
        yield schemathesis.openapi.from_asgi("/openapi.json", app)


def test_every_operation_is_looked_at(api: Any) -> None:
    found = {(each.ok().path, each.ok().method.upper()) for each in api.get_all_operations()}
    assert found == set(OPERATIONS)


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_is_as_documented(api: Any, path: str, method: str, mode: GenerationMode) -> None:
    operation = api[path][method]
    if mode is GenerationMode.NEGATIVE and method == "GET":
        return  # they take nothing that could be wrong

    @settings(max_examples=N_EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def look(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy(generation_mode=mode))
        case.call_and_validate(headers=HEADERS, excluded_checks=[POSITIVE])

    look()
