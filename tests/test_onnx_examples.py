"""The programs of docs/onnx.md, which know nothing of emovox, print what emovox computes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
import soundfile

import emovox
from emovox import audio
from emovox.bundles import load_bundle, write_standalone
from emovox.bundles.registry import find
from emovox.bundles.standalone import describe_model, embed_metadata
from emovox.cli import main
from emovox.errors import BundleError

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "onnx.md").read_text(encoding="utf-8")
MODELS = ("default", "fast")


def write_program(language: str, file: Path) -> Path:
    """Write the one block of code of that language into a file."""
    (code,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)
    file.write_text(code, encoding="utf-8")
    return file


@pytest.fixture(params=MODELS)
def example(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path, dict[str, float]]:
    """A model as one file, a clip of 16 bits, and the scores of emovox for it."""
    model, clip = tmp_path / "model.onnx", tmp_path / "clip.wav"
    write_standalone(find(request.param), model)
    samples = audio.read(ROOT / "examples" / "happy.opus")
    soundfile.write(clip, samples, 16_000, subtype="PCM_16")
    prediction = emovox.load(request.param).predict(clip, vad="off")
    return model, clip, dict(prediction.scores)


def check(command: list[str], scores: dict[str, float], **options: str) -> None:
    """Run a program; its lines are the labels in order of their scores, after the one for speech."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=os.environ | options
    )
    assert done.returncode == 0, done.stderr
    printed = {name: float(p) for name, p in (line.split(" ") for line in done.stdout.splitlines())}
    speech = printed.pop("speech", 1.0)
    assert 0.99 < speech <= 1
    assert list(printed) == sorted(scores, key=lambda name: -scores[name])
    # Graphs in 8 bits round differently on other processors and in WebAssembly.
    tolerance = 2e-6 if command[0] == sys.executable else 0.02
    assert printed == pytest.approx(scores, abs=tolerance)


def test_python_program(example: tuple[Path, Path, dict[str, float]], tmp_path: Path) -> None:
    model, clip, scores = example
    program = write_program("python", tmp_path / "predict.py")
    # -I: neither the environment nor the working folder is searched for modules.
    check([sys.executable, "-I", str(program), str(model), str(clip)], scores)
    assert "emovox" not in re.findall(r"^import (\w+)", program.read_text(encoding="utf-8"), re.M)


def test_node_program(example: tuple[Path, Path, dict[str, float]], tmp_path: Path) -> None:
    node, runtime = shutil.which("node"), os.environ.get("EMOVOX_WEB_RUNTIME")
    if node is None or not runtime:
        pytest.skip("needs node, and EMOVOX_WEB_RUNTIME: a folder node_modules with onnxruntime-web")
    model, clip, scores = example
    program = write_program("js", tmp_path / "predict.mjs")
    (tmp_path / "node_modules").symlink_to(Path(runtime).resolve())
    check([node, str(program), str(model), str(clip)], scores)


def test_cpp_program(example: tuple[Path, Path, dict[str, float]], tmp_path: Path) -> None:
    compiler, home = shutil.which("c++"), os.environ.get("ONNXRUNTIME")
    if compiler is None or not home:
        pytest.skip("needs a C++ compiler, and ONNXRUNTIME: a folder with include and lib of onnxruntime")
    model, clip, scores = example
    program = write_program("cpp", tmp_path / "predict.cc")
    binary = tmp_path / "predict"
    paths = [f"-I{home}/include", f"-L{home}/lib", "-lonnxruntime", f"-Wl,-rpath,{home}/lib"]
    subprocess.run([compiler, "-std=c++17", str(program), *paths, "-o", str(binary)], check=True)
    check([str(binary), str(model), str(clip)], scores)


@pytest.mark.parametrize("name", MODELS)
def test_metadata_equals_the_spec(name: str, tmp_path: Path) -> None:
    spec = load_bundle(find(name)).spec
    n_bytes = write_standalone(find(name), tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    assert len(content) == n_bytes
    known = onnxruntime.InferenceSession(content).get_modelmeta().custom_metadata_map
    assert known["labels"].split(",") == list(spec.labels)
    assert float(known["temperature"]) == spec.temperature
    assert ("speech_threshold" in known) == (spec.speech is not None)
    assert describe_model(spec).items() <= known.items()


def test_long_metadata_is_read_back() -> None:
    content = (find("fast") / "model.onnx").read_bytes()
    entries = {"short": "ü", "long": "x" * 200, "longer": "y" * 70_000, "": ""}
    assert (
        onnxruntime.InferenceSession(embed_metadata(content, entries)).get_modelmeta().custom_metadata_map
        == entries
    )


def test_export_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.onnx"
    assert main(["export", "fast", "--onnx", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: {file.stat().st_size:,} bytes\n"
    for arguments, says in (
        (["--onnx", str(file)], "add --force"),
        (["--onnx", str(tmp_path), "--force"], "is a folder"),
        (["--onnx", str(file), "-o", str(tmp_path / "b")], "name one thing"),
        (["--onnx", str(file), "--force", "--int8"], "are for a bundle"),
        (["--onnx", str(file), "--force", "--runtime", str(tmp_path)], "is for --web"),
    ):
        assert main(["export", "fast", *arguments]) == 2
        assert says in capsys.readouterr().err
    assert main(["export", "fast", "--onnx", str(file), "--force"]) == 0


def test_models_of_features_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from voices import toy_corpus

    toy_corpus(tmp_path, n_speakers=6)
    run = emovox.train(data=str(tmp_path / "toy.csv"), features="emovox-core", output=tmp_path / "run")
    with pytest.raises(BundleError, match="takes features"):
        write_standalone(run.bundle, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
