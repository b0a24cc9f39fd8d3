"""Runs on Ray, and in a store: the same rows as on this machine, whoever is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from emovox.batch import (
    BatchJob,
    BatchProgress,
    make_engine,
    make_prediction_task,
    read_record,
    read_status,
    run_job,
    storage,
)
from emovox.batch.inputs import BatchItem
from emovox.batch.merge import merge_run
from emovox.batch.outputs import BatchRow, Fields
from stores import BUCKET, s3_server

if find_spec("ray") is None:
    pytest.skip("ray is not installed", allow_module_level=True)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")]

HERE = Path(__file__).parent
SOURCES = (HERE, HERE.parent, HERE.parents[1] / "src")
PATHS = os.pathsep.join([*map(str, SOURCES), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A server with one bucket, before there are workers: they have its address from the environment."""
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def ray(s3: Any) -> Iterator[Any]:
    """Ray, connected to a cluster of two cores."""
    from emovox.batch.engines.ray import cluster, loaded

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PATHS)
        module = loaded(None)
        with cluster(module, None, workers=2):
            yield module


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sixteen recordings and one that is none."""
    folder = tmp_path_factory.mktemp("calls")
    rng = np.random.default_rng(3)
    for n in range(16):
        t = np.arange(16_000 + 500 * n) / 16_000
        x = 0.3 * np.sin(2 * np.pi * (120 + 20 * n) * t) + 0.02 * rng.standard_normal(t.size)
        soundfile.write(folder / f"{n:02d}.wav", x.astype(np.float32), 16_000)
    (folder / "broken.wav").write_bytes(b"no sound")
    return folder


def rows(job: BatchJob, tmp_path: Path, suffix: str = "parquet") -> bytes:
    """What `merge` writes."""
    ledger = read_record(job.output)
    assert ledger is not None
    merge_run(job.output, ledger, str(tmp_path / f"merged.{suffix}"))
    return (tmp_path / f"merged.{suffix}").read_bytes()


@pytest.mark.usefixtures("ray")
def test_ray_gives_the_rows_of_this_machine_byte_for_byte(
    calls: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    found = []
    for name, workers in (("local", 1), ("local", 2), ("ray", 2)):
        job = BatchJob(
            str(calls),
            str(tmp_path / f"{name}{workers}"),
            make_prediction_task(str(tiny_bundle)),
            shard_size=4,
        )
        done = run_job(job, make_engine(name), workers=workers)
        assert (done.n_done, done.n_failed, done.is_complete) == (17, 1, True)
        found.append(rows(job, tmp_path))
    assert found[0] == found[1] == found[2]


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("name", ["local", "ray"])
def test_plan_recordings_and_output_in_a_store(
    calls: Path, tiny_bundle: Path, tmp_path: Path, name: str
) -> None:
    folder = f"{BUCKET}/{name}"
    for file in calls.iterdir():
        storage.write_bytes(f"{folder}/calls/{file.name}", file.read_bytes())
    table = "file\n" + "".join(f"calls/{file.name}\n" for file in calls.iterdir()) + "calls/absent.wav\n"
    storage.write_bytes(f"{folder}/plan.csv", table.encode())
    job = BatchJob(
        f"{folder}/plan.csv",
        f"{folder}/out",
        make_prediction_task(str(tiny_bundle)),
        form="jsonl",
        shard_size=4,
    )
    done = run_job(job, make_engine(name), workers=2)
    assert (done.n_done, done.n_failed) == (18, 2), "one bad file costs no other"
    there = [json.loads(line) for line in rows(job, tmp_path, "jsonl").splitlines()]
    assert read_status(job.output).is_complete
    here = BatchJob(str(calls), str(tmp_path / "here"), job.task, form="jsonl", shard_size=4)
    run_job(here, make_engine("local"), workers=1)
    known = {
        json.loads(line)["file"]: json.loads(line) for line in rows(here, tmp_path, "jsonl").splitlines()
    }
    for row in there:
        name_of = row["file"].rpartition("/")[2]
        if name_of == "absent.wav":
            assert "no such file" in row["error"]
        elif name_of != "broken.wav":
            assert {**row, "file": ""} == {**known[str(calls / name_of)], "file": ""}
    everything = b"".join(
        storage.read_bytes(place) for place in storage.list_files(folder, suffixes=(".json", ".jsonl"))
    )
    assert b"a-secret-of-the-tests" not in everything


# --- who is killed --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slow:
    """Judges by the name alone, and takes its time; ``deadly`` recordings end their process."""

    rest_s: float = 0.02
    fields: Fields = field(default_factory=lambda: {"file": "text", "size": "int"})

    def record(self) -> dict[str, Any]:
        return {"task": "slow"}

    def load(self) -> Callable[[BatchItem, str], tuple[list[BatchRow], float]]:
        return partial(slowly, self)


def slowly(task: Slow, item: BatchItem, place: str) -> tuple[list[BatchRow], float]:
    time.sleep(task.rest_s)
    if "deadly" in item.file:
        os.kill(os.getpid(), signal.SIGSEGV)
    return [{"file": item.file, "size": len(place)}], 1.0


def job_of(tmp_path: Path, name: str, *more: str) -> BatchJob:
    plan = tmp_path / "plan.txt"
    plan.write_text("".join(f"/calls/{one}\n" for one in (*(f"{n}.wav" for n in range(60)), *more)))
    return BatchJob(str(plan), str(tmp_path / name), Slow(), form="jsonl", shard_size=5)


def actors() -> list[int]:
    """Processes of workers of ours."""
    found = subprocess.run(["pgrep", "-f", "^ray::_Worker"], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


@pytest.mark.usefixtures("ray")
def test_actors_that_are_killed_in_the_middle_cost_nothing(tmp_path: Path) -> None:
    whole = job_of(tmp_path, "whole")
    run_job(whole, make_engine("local"), workers=1)
    job = job_of(tmp_path, "killed")
    n_told = 0

    def watch(pace: BatchProgress) -> None:
        nonlocal n_told
        n_told += 1
        if n_told in (3, 6, 9):
            os.kill(actors()[0], signal.SIGKILL)

    done = run_job(job, make_engine("ray"), workers=2, on_progress=watch)
    assert n_told >= 10
    assert (done.n_done, done.n_failed) == (60, 0)
    assert rows(job, tmp_path, "jsonl") == rows(whole, tmp_path, "jsonl")


@pytest.mark.usefixtures("ray")
def test_a_recording_that_ends_its_actor_is_one_row_with_an_error(tmp_path: Path) -> None:
    job = job_of(tmp_path, "deadly", "deadly.wav")
    done = run_job(job, make_engine("ray"), workers=2)
    assert (done.n_done, done.n_failed) == (61, 1)
    found = [json.loads(line) for line in rows(job, tmp_path, "jsonl").splitlines()]
    assert [row["file"] for row in found if "error" in row] == ["/calls/deadly.wav"]
    assert len(found) == 61


DRIVER = """
import sys
from pathlib import Path
from test_ray_runs import job_of
from emovox.batch import make_engine, run_job
done = run_job(job_of(Path(sys.argv[1]), "driven"), make_engine("ray"), workers=2)
print(done.n_done, done.n_failed)
"""


def test_a_driver_that_is_killed_in_the_middle_goes_on(tmp_path: Path) -> None:
    job = job_of(tmp_path, "driven")
    parts = tmp_path / "driven" / "parts"
    process = start(tmp_path)
    try:
        end_s = time.monotonic() + 240
        while not (parts.exists() and len(list(parts.iterdir())) >= 3):
            assert process.poll() is None
            assert time.monotonic() < end_s
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    n_before = len(list(parts.glob("*.jsonl")))
    assert 3 <= n_before < 12
    told, errors = start(tmp_path).communicate(timeout=300)
    assert told == "60 0\n", errors
    whole = job_of(tmp_path, "whole")
    run_job(whole, make_engine("local"), workers=1)
    assert rows(job, tmp_path, "jsonl") == rows(whole, tmp_path, "jsonl")


def start(tmp_path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": PATHS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
