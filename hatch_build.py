"""Build hooks: the software bill of materials (PEP 770), and wheels without non-commercial weights.

``EMOVOX_WEIGHTS=permissive pip wheel .`` leaves out the bundles whose ``spec.json`` says that their weights
are not for commercial use; the first remaining bundle is then the default.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

EMBEDDED = "src/emovox/bundles/embedded"


def select_bundles(root: str) -> tuple[list[Path], list[Path]]:
    """Return the folders of the embedded bundles that this build takes, and those that it leaves out."""
    weights = os.environ.get("EMOVOX_WEIGHTS", "all")
    if weights not in ("all", "permissive"):
        raise ValueError(f"EMOVOX_WEIGHTS is {weights!r}; expected 'all' or 'permissive'")
    folders = sorted(file.parent for file in (Path(root) / EMBEDDED).glob("*/spec.json"))
    taken = [f for f in folders if weights == "all" or read_spec(f)["licence"]["commercial"]]
    return taken, [folder for folder in folders if folder not in taken]


def read_spec(folder: Path) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    return spec


class LicenceHook(MetadataHookInterface):
    """The licence expression of code and of the weights in this build."""

    def update(self, metadata: dict[str, Any]) -> None:
        taken, _ = select_bundles(self.root)
        weights = {read_spec(folder)["licence"]["weights"] for folder in taken}
        metadata["license"] = " AND ".join(
            ["Apache-2.0", *sorted(weights, key=lambda name: ("NC" not in name, name))]
        )


class BuildHook(BuildHookInterface[Any]):
    """Leave bundles out, and add the bill of materials."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        taken, left_out = select_bundles(self.root)
        root = Path(self.root)
        excluded = self.build_config.target_config.setdefault("exclude", [])
        excluded += [f"/{folder.relative_to(root).as_posix()}" for folder in left_out]
        self.folder = tempfile.TemporaryDirectory()  # removed when the hook is
        file = Path(self.folder.name) / "emovox.cdx.json"
        bill = make_bill_of_materials(root, self.metadata.version, self.metadata.core.dependencies, taken)
        file.write_text(json.dumps(bill, indent=1), encoding="utf-8")
        build_data["sbom_files"].append(str(file))


def make_bill_of_materials(
    root: Path, version: str, dependencies: list[str], bundles: list[Path]
) -> dict[str, Any]:
    """Describe the wheel in CycloneDX 1.6: the dependencies it requires and the models it contains."""
    package = {
        "type": "library",
        "bom-ref": "emovox",
        "name": "emovox",
        "version": version,
        "purl": f"pkg:pypi/emovox@{version}",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    required = []
    for requirement in sorted(dependencies):
        match = re.match(r"[\w.-]+", requirement)
        assert match is not None
        purl = f"pkg:pypi/{match[0].lower()}"
        # A requirement is a range: which version is installed is not known when the wheel is built.
        part = {"type": "library", "bom-ref": purl, "name": match[0], "purl": purl, "scope": "required"}
        required.append({**part, "properties": [{"name": "emovox:requirement", "value": requirement}]})
    models = []
    for folder in bundles:
        spec = read_spec(folder)
        models.append(
            {
                "type": "machine-learning-model",
                "bom-ref": f"model/{folder.name}",
                "name": f"emovox {folder.name}",
                "version": spec["version"],
                "hashes": [{"alg": "SHA-256", "content": spec["sha256"]}],
                "licenses": [{"license": {"id": spec["licence"]["weights"]}}],
            }
        )
    whisper = {
        "type": "machine-learning-model",
        "bom-ref": "model/whisper-base",
        "name": "Whisper base (parts of its encoder, quantised, in the bundles)",
        "supplier": {"name": "OpenAI"},
        "licenses": [{"license": {"id": "MIT"}}],
    }
    sample = {
        "type": "data",
        "bom-ref": "data/sample",
        "name": "BanglaSER, clip 03-01-01-01-02-03-30 (sample of the server's page)",
        "licenses": [{"license": {"id": "CC-BY-4.0"}}],
    }
    parts = [*required, *models, whisper, sample]
    derived = [
        f"model/{folder.name}" for folder in bundles if "whisper" in json.dumps(read_spec(folder)).lower()
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": package},
        "components": parts,
        "dependencies": [
            {"ref": "emovox", "dependsOn": [part["bom-ref"] for part in [*required, *models]]},
            *({"ref": name, "dependsOn": ["model/whisper-base"]} for name in derived),
        ],
    }
