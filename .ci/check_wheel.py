"""Look into a built wheel: is it pure, are the models inside, does it name the licences of code and weights?

python .ci/check_wheel.py dist/emovox-*.whl
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

MODELS = ("default", "fast", "permissive")
WANTED = {"emovox/py.typed"} | {
    f"emovox/bundles/embedded/{model}/{file}" for model in MODELS for file in ("model.onnx", "spec.json")
}
WANTED |= {f"emovox/server/page/{file}" for file in ("index.html", "style.css", "app.js", "worklet.js")}
MAX_MIB = 40


def problems(wheel: Path) -> list[str]:
    """What is wrong with ``wheel``; empty when nothing is."""
    found = []
    if not wheel.name.endswith("-py3-none-any.whl"):
        found.append(f"{wheel.name} is not py3-none-any")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(info).decode()
    found += [f"{name} is missing" for name in sorted(WANTED - set(names))]
    found += [
        f"{name} does not belong in a wheel" for name in names if name.endswith((".pyc", ".pkl", ".pt"))
    ]
    if "\nLicense-Expression: Apache-2.0 AND CC-BY-NC-SA-4.0" not in metadata:
        found.append("License-Expression does not name code and weights apart")
    for licence in ("LICENSE", "LICENSE-WEIGHTS.md"):
        if not any(name.endswith(f"/licenses/{licence}") for name in names):
            found.append(f"{licence} is missing")
    if wheel.stat().st_size > MAX_MIB * 2**20:
        found.append(f"{wheel.stat().st_size / 2**20:.1f} MiB; expected at most {MAX_MIB}")
    return found


def main() -> int:
    """Check the wheels named as arguments."""
    found = [f"{name}: {problem}" for name in sys.argv[1:] for problem in problems(Path(name))]
    print(*(found or ["the wheel is whole"]), sep="\n")
    return 1 if found or len(sys.argv) < 2 else 0


if __name__ == "__main__":
    sys.exit(main())
