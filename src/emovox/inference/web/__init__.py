"""A static page that predicts in the browser: no sound leaves the device.

The JavaScript beside this module does what `emovox.audio` and `emovox.inference` do; the export writes its
constants from those packages, so that both cannot differ. The runtime (onnxruntime-web, and WebRTC's detector
as WebAssembly) is not part of emovox: it comes from npm, pinned by its hashes.
"""

from __future__ import annotations

import hashlib
import html
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from emovox._files import write_json, write_text
from emovox.audio import level, vad
from emovox.bundles import MODEL_FILE, Bundle, load_bundle
from emovox.disclaimer import LIMITS, NOTICE
from emovox.errors import ConfigError, DownloadError
from emovox.inference import clip, scorer, segments, windows

__all__ = ["RUNTIME", "download_runtime", "write_web_page"]

RUNTIME: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "onnxruntime-web/dist/ort.wasm.min.mjs": (
            "onnxruntime-web@1.30.0",
            "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
        ),
        "onnxruntime-web/dist/ort-wasm-simd-threaded.mjs": (
            "onnxruntime-web@1.30.0",
            "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
        ),
        "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm": (
            "onnxruntime-web@1.30.0",
            "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
        ),
        "@echogarden/fvad-wasm/fvad.js": (
            "@echogarden/fvad-wasm@0.2.0",
            "418edaf7ac18a92a59586a339a7aadcbca67718f64029d8ea739f2b6cc007539",
        ),
        "@echogarden/fvad-wasm/fvad.wasm": (
            "@echogarden/fvad-wasm@0.2.0",
            "f81d42b107a2198a3aa0f8ae4f27a8b7a2cc4218896adae5ff82012178eff727",
        ),
        "@echogarden/fvad-wasm/LICENSE": (
            "@echogarden/fvad-wasm@0.2.0",
            "7248ba5228172e152b8004ad624232444d3d3f591080a99cdbd2bf0d4383365c",
        ),
    }
)
"""File below ``node_modules`` -> its package on npm and its SHA-256."""

_PAGE_FILES = (
    *("index.html", "style.css", "app.js", "worklet.js", "emovox.js", "audio.js", "vad.js", "windows.js"),
    *("manifest.webmanifest", "icon.svg"),
)

# The npm package states its licence but has no file of it.
_MIT = """\
onnxruntime-web 1.30.0
MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def write_web_page(source: Path, folder: Path, runtime: Path) -> int:
    """Write a folder that any web server can serve, with the page, the module ``emovox.js`` and the model.

    Args:
        source: the folder of a bundle.
        folder: new or empty.
        runtime: a folder ``node_modules`` with the files of `RUNTIME`.

    Returns:
        The number of bytes.

    Raises:
        ConfigError: the model takes features, which the page cannot compute, or gives values; or a file of
            the runtime is missing or another version.
        BundleError: the bundle cannot be used.
    """
    bundle = load_bundle(source)
    spec = bundle.spec
    if spec.input.kind != "waveform":
        raise ConfigError(
            f"the model {spec.name!r} takes features, which a browser cannot compute; expected a model whose "
            "graph takes the waveform, as the models that come with emovox"
        )
    if spec.targets:
        raise ConfigError(
            f"the model {spec.name!r} gives values of {', '.join(spec.target_names)}, which the page cannot "
            "show; expected a model of labels alone"
        )
    files = {name: _read_verified(runtime / name) for name in RUNTIME}
    target = folder / "runtime"
    target.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if not name.endswith("LICENSE"):
            (target / Path(name).name).write_bytes(content)
    fvad_licence = files["@echogarden/fvad-wasm/LICENSE"].decode()
    write_text(target / "LICENSES.txt", f"{_MIT}\n\n@echogarden/fvad-wasm 0.2.0 (WebRTC)\n{fvad_licence}")
    (folder / "model").mkdir(exist_ok=True)
    shutil.copyfile(source / MODEL_FILE, folder / "model" / MODEL_FILE)
    write_json(folder / "model" / "settings.json", _make_settings(bundle))
    terms = "commercial use allowed" if spec.licence.commercial else "no commercial use"
    words = {
        "NOTICE": NOTICE,
        "LIMITS": LIMITS,
        "MODEL": f"Model {spec.name} {spec.version}: {spec.description}. "
        f"Weights {spec.licence.weights}, {terms}.",
    }
    for name in _PAGE_FILES:
        text = (Path(__file__).parent / name).read_text(encoding="utf-8")
        for key, value in words.items():
            text = text.replace(f"{{{{{key}}}}}", html.escape(value))
        write_text(folder / name, text)
    _write_service_worker(folder)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def download_runtime(folder: Path) -> Path:
    """Fetch the packages of `RUNTIME` with npm; return the folder to give to `write_web_page`.

    Raises:
        ConfigError: npm is not installed.
        DownloadError: npm failed.
    """
    npm = shutil.which("npm")
    packages = sorted({package for package, _ in RUNTIME.values()})
    if npm is None:
        raise ConfigError(
            "npm is not installed, which fetches the runtime; install it, or run elsewhere  npm install "
            f"{' '.join(packages)}  and name its folder node_modules with --runtime"
        )
    for package in packages:
        # The package alone: its dependencies are for bundlers.
        done = subprocess.run(
            [npm, "pack", "--silent", package], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise DownloadError(f"npm cannot fetch {package}: {(done.stderr or done.stdout).strip()[:500]}")
        unpacked = folder / "node_modules" / package.rpartition("@")[0]
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            with tarfile.open(folder / done.stdout.split()[-1]) as archive:
                archive.extractall(scratch, filter="data")
            unpacked.parent.mkdir(parents=True, exist_ok=True)
            (Path(scratch) / "package").rename(unpacked)
    return folder / "node_modules"


def _read_verified(file: Path) -> bytes:
    name = "/".join(file.parts[-4:])
    package, expected = next(value for key, value in RUNTIME.items() if name.endswith(key))
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the runtime has no {str(file)!r} ({error.strerror}); expected the folder node_modules of  npm "
            f"install {package}"
        ) from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise ConfigError(f"{str(file)!r} is not the file of {package}; install that version")
    return content


def _make_settings(bundle: Bundle) -> dict[str, Any]:
    """The spec, and the constants of audio and inference that the JavaScript uses."""
    whole = bundle.spec.to_dict()
    unused = ("adaptation", "taught", "scores")  # long
    return {
        "spec": {name: value for name, value in whole.items() if name not in unused},
        "offset_size": bundle.model.offset_size,
        "memory_size": bundle.model.memory_size,
        "vad": {
            "frame_s": vad.FRAME_S,
            "mode": vad.MODE,
            "gain_db": vad.GAIN_DB,
            "hang_s": vad.HANG_S,
            "margin_db": vad.MARGIN_DB,
            "memory_s": vad.MEMORY_S,
            "settle_s": vad.SETTLE_S,
            "mute_s": vad.MUTE_S,
            "unmuted_db": vad.UNMUTED_DB,
            "mute_power": vad._MUTE_POWER,
            "n_edge": vad._N_EDGE,
            "n_click": vad._N_CLICK,
            "range_db": vad.RANGE_DB,
        },
        "clips": {"edge": clip.EDGE, "grid": clip.GRID},
        "level": {
            "rail": level.RAIL,
            "clipped_share": level.CLIPPED_SHARE,
            "silence_dbfs": level.SILENCE_DBFS,
            "low_dbfs": level.LOW_DBFS,
            "no_speech_s": level.NO_SPEECH_S,
        },
        "windows": {
            "new_share": windows.NEW_SHARE,
            "margin_s": windows.MARGIN_S,
            "min_speech_share": scorer.MIN_SPEECH_SHARE,
        },
        "speech": {"short_s": scorer.SHORT_S, "short_threshold": scorer.SHORT_SPEECH_THRESHOLD},
        "segments": {
            "smoothing_s": segments.SMOOTHING_S,
            "hysteresis": segments.HYSTERESIS,
            "gap_s": segments.GAP_S,
            "min_segment_s": segments.MIN_SEGMENT_S,
        },
    }


def _write_service_worker(folder: Path) -> None:
    """List all files by their content: a new export replaces what browsers keep."""
    names = sorted(
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and file.name != "service-worker.js"
    )
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + b"\0" + hashlib.sha256((folder / name).read_bytes()).digest())
    text = (Path(__file__).parent / "service-worker.js").read_text(encoding="utf-8")
    text = text.replace("{{VERSION}}", digest.hexdigest()[:16])
    text = text.replace("{{FILES}}", json.dumps(["./", *names]))
    write_text(folder / "service-worker.js", text)
