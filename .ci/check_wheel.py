"""Check a built wheel: pure, with its models, its bill of materials and the licences of code and weights.

python .ci/check_wheel.py [--models permissive] dist/emovox-*.whl
"""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from pathlib import Path

MODELS = ("default", "fast", "permissive")
WANTED = {
    "emovox/py.typed",
    "emovox/evaluation/behaviour/behaviour.yaml",
    "emovox/evaluation/sentences.csv",
}
WANTED |= {f"emovox/server/page/{file}" for file in ("index.html", "style.css", "app.js", "worklet.js")}
WANTED |= {f"emovox/inference/web/{file}" for file in ("index.html", "emovox.js", "service-worker.js")}
MAX_MIB = 40


def find_problems(wheel: Path, models: tuple[str, ...]) -> list[str]:
    """List what is wrong with ``wheel``, which should hold ``models`` and no others."""
    wanted = WANTED | {
        f"emovox/bundles/embedded/{model}/{file}" for model in models for file in ("model.onnx", "spec.json")
    }
    found = []
    if not wheel.name.endswith("-py3-none-any.whl"):
        found.append(f"{wheel.name} is not py3-none-any")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(info).decode()
        specs = [json.loads(archive.read(name)) for name in names if name.endswith("/spec.json")]
        bills = [json.loads(archive.read(name)) for name in names if name.endswith(".cdx.json")]
    found += [f"{name} is missing" for name in sorted(wanted - set(names))]
    if sorted(spec["name"] for spec in specs) != sorted(models):
        found.append(f"holds the models {[spec['name'] for spec in specs]}; expected {models}")
    listed = {part["name"] for bill in bills for part in bill["components"]}
    if not {f"emovox {model}" for model in models} | {"numpy", "onnxruntime"} <= listed:
        found.append(f"the bill of materials lists {sorted(listed)}")
    found += [
        f"{name} does not belong in a wheel" for name in names if name.endswith((".pyc", ".pkl", ".pt"))
    ]
    weights = {spec["licence"]["weights"] for spec in specs}
    expression = next(x for x in metadata.splitlines() if x.startswith("License-Expression: "))
    if set(expression.removeprefix("License-Expression: ").split(" AND ")) != {"Apache-2.0", *weights}:
        found.append(f"{expression}; expected Apache-2.0 and {weights}")
    for licence in ("LICENSE", "LICENSE-WEIGHTS.md"):
        if not any(name.endswith(f"/licenses/{licence}") for name in names):
            found.append(f"{licence} is missing")
    if wheel.stat().st_size > MAX_MIB * 2**20:
        found.append(f"{wheel.stat().st_size / 2**20:.1f} MiB; expected at most {MAX_MIB}")
    return found


def main() -> int:
    """Check the wheels named as arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", type=Path, nargs="+")
    parser.add_argument("--models", nargs="+", default=MODELS)
    options = parser.parse_args()
    found = [
        f"{wheel}: {problem}"
        for wheel in options.wheels
        for problem in find_problems(wheel, tuple(options.models))
    ]
    print(*(found or ["the wheel is complete"]), sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
