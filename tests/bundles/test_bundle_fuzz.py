"""The bundle's door under thousands of hostile bundles, in a child process that a native crash may kill.

Every case is a real bundle with something mutated: the text of the spec, the bytes of the model, or (so that
onnxruntime really meets hostile graphs) the model as a graph, with its sha256 made right again. A case must
end in answers or in a `BundleError`, within two seconds. Run this file to see one case:
``python tests/test_bundle_fuzz.py FOLDER FIRST LAST``.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import tiny_features_onnx, tiny_onnx, tiny_spec

N_CASES = 2400
SLOWEST_S = 2.0
MEMORY_BYTES = 6 << 30
"""A hostile graph may ask for any memory; more than this it does not get from the machine that tests."""

HOSTILE = [0, 1, -1, 2, 127, 255, 2**16, 2**31 - 1, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63)]


@pytest.mark.slow
def test_no_bundle_crashes_the_process(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    command = [sys.executable, __file__, str(tmp_path), "0", str(N_CASES)]
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # the child imports conftest, too
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=path)
    at = (tmp_path / "at").read_text()
    assert done.returncode == 0, f"case {at} ended the process ({done.returncode}): {done.stderr[-2000:]}"
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["wrong"] == []
    assert report["slow"] == []
    assert report["refused"] + report["answered"] == N_CASES
    assert report["refused"] > N_CASES / 3  # the mutations bite
    assert report["answered"] > N_CASES / 50  # and some pass the door, and run


# ------------------------------------------------------------------------------------------ mutations


def flip(rng: random.Random, data: bytes) -> bytes:
    """Change a few bytes, or cut, drop, repeat or fill a stretch."""
    out = bytearray(data)
    a, b = sorted(rng.randrange(len(out) + 1) for _ in range(2))
    b = min(b, a + rng.choice([1, 4, 64, 4096]))
    match rng.randrange(8):
        case 0:
            del out[a:]
        case 1:
            del out[a:b]
        case 2:
            out[a:a] = out[a:b]
        case 3:
            out[a:b] = bytes([rng.choice([0, 0x7F, 0x80, 0xFF])]) * (b - a)
        case _:
            for _ in range(rng.choice([1, 1, 2, 8])):
                out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out)


def bend_spec(rng: random.Random, text: bytes) -> bytes:
    """Put odd values, drop or double keys; sometimes flip bytes."""
    if rng.random() < 0.4:
        return flip(rng, text)
    spec = json.loads(text)
    where: Any = spec
    keys = list(spec)
    if rng.random() < 0.2:
        where = spec[rng.choice(["input", "abstain", "licence", "normaliser"])] or spec["input"]
        keys = list(where)
    elif spec["input"]["features"] and rng.random() < 0.5:
        where = rng.choice([spec["input"]["features"], spec["input"]["features"]["overrides"]])
        if not where:
            where[rng.choice(["mfcc.n_mfcc", "window", "hop", "clip_s"])] = 13
        keys = list(where)
    key = rng.choice(keys)
    odd = [
        None,
        True,
        "",
        "x" * 100_000,
        [],
        {},
        [[]],
        1e308,
        -0.0,
        float("nan"),
        10**400,
        "\ud800",
        *HOSTILE,
    ]
    match rng.randrange(4):
        case 0:
            del where[key]
        case 1:
            where[key + rng.choice(["x", "\0", ""])] = rng.choice(odd)
        case 2:
            where[key] = [where[key]] * rng.choice([0, 2, 300])
        case _:
            where[key] = rng.choice(odd)
    return json.dumps(spec).encode()


def bend_graph(rng: random.Random, model: bytes) -> bytes:
    """Change a graph as a graph: it stays an ONNX file, and reaches optimisers and kernels."""
    import onnx

    proto = onnx.load_from_string(model)
    graph = proto.graph
    for _ in range(rng.choice([1, 1, 2, 4])):
        node = rng.choice(graph.node)
        tensor = rng.choice(graph.initializer)
        changes: list[Callable[[], Any]] = [
            lambda node=node: bend_attribute(rng, node),
            lambda node=node: bend_attribute(rng, node),
            lambda node=node: node.input.__setitem__(slice(None), shuffled(rng, graph, list(node.input))),
            lambda node=node: setattr(node, "op_type", rng.choice(graph.node).op_type),
            lambda node=node: setattr(node, "op_type", rng.choice(OPERATORS)),
            lambda tensor=tensor: tensor.dims.append(rng.choice(HOSTILE)),
            lambda tensor=tensor: tensor.dims and tensor.dims.__setitem__(0, rng.choice(HOSTILE)),
            lambda tensor=tensor: setattr(tensor, "data_type", rng.randrange(30)),
            lambda tensor=tensor: setattr(tensor, "raw_data", flip(rng, tensor.raw_data or b"\0")),
            lambda tensor=tensor: setattr(
                tensor, "raw_data", rng.choice(HOSTILE).to_bytes(8, "little", signed=True)
            ),
            lambda node=node: graph.node.append(node),
            lambda node=node: graph.node.remove(node),
            lambda: setattr(proto.opset_import[0], "version", rng.choice([1, 7, 13, 18, 21, *HOSTILE])),
            lambda: setattr(proto, "ir_version", rng.choice(HOSTILE)),
            lambda node=node: setattr(node, "domain", rng.choice(["com.microsoft", "ai.onnx.ml", "x"])),
        ]
        try:
            rng.choice(changes)()
        except (TypeError, ValueError, OverflowError):
            continue
        if not graph.node:
            break
    return bytes(proto.SerializeToString())


OPERATORS = [
    "Loop",
    "If",
    "Gather",
    "Slice",
    "Expand",
    "Tile",
    "Pad",
    "Resize",
    "Einsum",
    "LSTM",
    "Reshape",
    "Cast",
]
OPERATORS += [
    "ConstantOfShape",
    "OneHot",
    "TopK",
    "MaxPool",
    "ConvTranspose",
    "QLinearConv",
    "STFT",
    "ScatterND",
]


def shuffled(rng: random.Random, graph: Any, names: list[str]) -> list[str]:
    known = (
        [t.name for t in graph.initializer]
        + [o for n in graph.node for o in n.output]
        + ["waveform", "features", ""]
    )
    names = names or [""]
    names[rng.randrange(len(names))] = rng.choice(known)
    return names[: rng.choice([1, 2, 3, 9])]


def bend_attribute(rng: random.Random, node: Any) -> None:
    from onnx import helper

    if node.attribute and rng.random() < 0.7:
        attribute = rng.choice(node.attribute)
        if attribute.ints:
            attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(HOSTILE)
        else:
            attribute.i = rng.choice(HOSTILE)
    else:
        name = rng.choice(["axis", "group", "pads", "strides", "dilations", "kernel_shape", "to", "keepdims"])
        value: Any = rng.choice(HOSTILE)
        if name in ("pads", "strides", "dilations", "kernel_shape"):
            value = [rng.choice(HOSTILE) for _ in range(rng.choice([1, 2, 4]))]
        node.attribute.append(helper.make_attribute(name, value))


# ------------------------------------------------------------------------------------------ the child


def put_case(folder: Path, case: int, model: bytes, spec: bytes) -> None:
    """Write bundle number ``case``, the same on every run."""
    rng = random.Random(case)
    if case % 4 == 0:
        spec = bend_spec(rng, spec)
    else:
        model = flip(rng, model) if case % 4 == 1 else bend_graph(rng, model)
        spec = json.dumps(json.loads(spec) | {"sha256": hashlib.sha256(model).hexdigest()}).encode()
    (folder / "model.onnx").write_bytes(model)
    (folder / "spec.json").write_bytes(spec)


def whole_bundles() -> list[tuple[bytes, bytes]]:
    """A model and its spec for every kind of input; half of the cases are waveforms."""
    from emovox.bundles import Features, Input, Population, SpeakerNormalization
    from emovox.features import find_feature_set

    made = [(tiny_onnx(), tiny_spec())] * 2
    for kind, name in (("vector", "seed-180"), ("frames", "seed-lstm")):
        features = find_feature_set(name)
        wanted = Features(**features.reference(), columns=features.columns)
        n = len(features.columns)
        population = Population(mean=(0.5,) * n, std=(2.0,) * n)
        normaliser = SpeakerNormalization(kind="speaker", shrink=5.0, population=population)
        spec = tiny_spec(
            input=Input(kind=kind, features=wanted), normaliser=normaliser if kind == "vector" else None
        )
        made.append((tiny_features_onnx(n, frames=kind == "frames"), spec))
    return [
        (model, replace(spec, sha256=hashlib.sha256(model).hexdigest()).to_json().encode())
        for model, spec in made
    ]


def main(folder: Path, first: int, last: int) -> None:
    from emovox.bundles import load_bundle
    from emovox.errors import BundleError

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    bundles = whole_bundles()
    rng = np.random.default_rng(0)
    sounds = [(rng.standard_normal(n) * 0.1).astype(np.float32) for n in (4000, 1)]
    report: dict[str, Any] = {"refused": 0, "answered": 0, "wrong": [], "slow": []}
    at = (folder / "at").open("w")
    for case in range(first, last):
        at.seek(0)
        at.write(f"{case} ")
        at.flush()
        model, spec = bundles[case // 4 % len(bundles)]
        put_case(folder, case, model, spec)
        start = time.perf_counter()
        try:
            answer = load_bundle(folder).logits(sounds)
        except BundleError:
            report["refused"] += 1
        except BaseException as error:
            report["wrong"].append((case, repr(error)[:300]))
        else:
            report["answered"] += 1
            if answer.shape[0] != 2 or not np.isfinite(answer).all():
                report["wrong"].append((case, str(answer)))
        took = time.perf_counter() - start
        if took > SLOWEST_S:
            report["slow"].append((case, round(took, 2)))
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
