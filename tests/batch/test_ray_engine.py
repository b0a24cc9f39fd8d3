"""The engine on Ray: shards get done by actors, one that dies costs a try of its shard, all ends clean."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from emovox.batch.engines import Shard, ShardResult, make_engine
from emovox.errors import ConfigError, EmovoxError

if find_spec("ray") is None:  # to import it here would be to import it otherwise than the engine does
    pytest.skip("ray is not installed", allow_module_level=True)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")]

HERE = Path(__file__).parent
PATHS = os.pathsep.join(filter(None, (str(HERE), str(HERE.parent / "src"), os.environ.get("PYTHONPATH"))))
"""Where workers find this file, and the package where it is not installed."""


@dataclass(frozen=True)
class Toil:
    """A factory whose worker writes down who did which shard, and meets its fate at some of them.

    Who ``dies`` does so each time, who ``stumbles`` the first time.
    """

    folder: Path
    fates: tuple[tuple[int, str], ...] = ()
    rest_s: float = 0.0

    def __call__(self) -> Callable[[Shard], ShardResult]:
        return self.work

    def work(self, shard: Shard) -> ShardResult:
        is_first = not list(self.folder.glob(f"{shard.number}-*"))
        (self.folder / f"{shard.number}-{time.time_ns()}").write_text(str(os.getpid()))
        time.sleep(self.rest_s)
        match dict(self.fates).get(shard.number):
            case "fails":
                raise ValueError("no such thing")
            case "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stumbles" if is_first:
                os._exit(3)
        return ShardResult(shard, n_items=2, n_failed=0, n_rows=3, audio_s=0.5)

    def pids(self) -> list[int]:
        """Of whom did what, in the order of time."""
        return [int(file.read_text() or 0) for file in sorted(self.folder.iterdir(), key=_when)]


def _when(file: Path) -> int:
    return int(file.name.split("-")[1])


class Broken:
    """A factory that cannot load its model."""

    def __call__(self) -> Callable[[Shard], ShardResult]:
        raise EmovoxError("there is no such model")


class Stillborn:
    """A factory that takes its process with it."""

    def __call__(self) -> Callable[[Shard], ShardResult]:
        os._exit(1)


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Ray, connected to a cluster of two cores that runs already."""
    from emovox.batch.engines.ray import cluster, loaded

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PATHS)
        module = loaded(None)
        with cluster(module, None, workers=2):
            yield module


def shards(n: int) -> Iterator[Shard]:
    return (Shard(number) for number in range(n))


@pytest.mark.usefixtures("ray")
def test_every_shard_is_done_once_by_both_workers(tmp_path: Path) -> None:
    toil = Toil(tmp_path, rest_s=0.02)
    outcomes = list(make_engine("ray").run(toil, shards(40), workers=2))
    assert {one.item.number for one in outcomes} == set(range(40))
    assert all(one.value == ShardResult(one.item, 2, 0, 3, 0.5) and one.error is None for one in outcomes)
    assert len(outcomes) == len(toil.pids()) == 40
    assert len(set(toil.pids())) == 2
    assert os.getpid() not in toil.pids()


@pytest.mark.usefixtures("ray")
def test_shards_are_read_when_somebody_is_free(tmp_path: Path) -> None:
    read: list[int] = []

    def noted() -> Iterator[Shard]:
        for shard in shards(1000):
            read.append(shard.number)
            yield shard

    outcomes = make_engine("ray").run(Toil(tmp_path), noted(), workers=2)
    assert not read, "nothing is read before it is asked for"
    for n_out in range(1, 6):
        next(outcomes)
        assert len(read) <= n_out + 2
    outcomes.close()
    assert len(read) <= 8


@pytest.mark.usefixtures("ray")
def test_what_a_shard_does_costs_that_shard(tmp_path: Path) -> None:
    toil = Toil(tmp_path, fates=((3, "fails"), (5, "dies"), (6, "stumbles")))
    outcomes = {one.item.number: one for one in make_engine("ray").run(toil, shards(12), workers=2)}
    assert {number for number, one in outcomes.items() if one.error} == {3, 5}
    assert outcomes[3].error == "ValueError: no such thing"
    assert str(outcomes[5].error).startswith("3 workers that had it were lost")
    tries = Counter(int(file.name.split("-")[0]) for file in tmp_path.iterdir())
    assert tries == Counter({**dict.fromkeys(range(12), 1), 5: 3, 6: 2})


@pytest.mark.usefixtures("ray")
def test_an_actor_that_is_killed_in_the_middle_is_replaced(tmp_path: Path) -> None:
    toil = Toil(tmp_path, rest_s=0.1)
    outcomes = []
    for one in make_engine("ray").run(toil, shards(30), workers=2):
        outcomes.append(one)
        if len(outcomes) in (5, 15):
            os.kill(toil.pids()[-1], signal.SIGKILL)
    assert {one.item.number for one in outcomes if one.value} == set(range(30))
    assert len(outcomes) == 30
    assert 30 <= len(toil.pids()) <= 32, "a shard each time, unless it was done just before"
    assert len(set(toil.pids())) in (3, 4)


def test_workers_that_cannot_start_stop_the_run(ray: Any) -> None:
    with pytest.raises(EmovoxError, match="could not start: there is no such model"):
        list(make_engine("ray").run(Broken(), shards(4), workers=2))
    with pytest.raises(EmovoxError, match="3 workers in a row could not start"):
        list(make_engine("ray").run(Stillborn(), shards(4), workers=1))
    wait_for(lambda: ray.available_resources().get("CPU") == 2, "their cores are given back")


@pytest.mark.usefixtures("ray")
def test_more_workers_than_cores_wait_and_keep_nobody_from_ending(tmp_path: Path) -> None:
    outcomes = list(make_engine("ray").run(Toil(tmp_path), shards(12), workers=6))
    assert {one.item.number for one in outcomes if one.value} == set(range(12))


def test_nobody_is_ready_in_time(ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emovox.batch.engines import ray as module

    monkeypatch.setattr(module, "_START_S", 0.5)

    @ray.remote(num_cpus=2)
    class Other:
        def ping(self) -> bool:
            return True

    other: Any = Other.remote()
    ray.get(other.ping.remote())
    with pytest.raises(EmovoxError, match=r"no worker was ready after .*2 are 0 free"):
        list(make_engine("ray").run(Toil(tmp_path), shards(2), workers=1))
    ray.kill(other)
    wait_for(lambda: ray.available_resources().get("CPU") == 2, "their cores are given back")


@pytest.mark.usefixtures("ray")
def test_no_shards_and_no_workers(tmp_path: Path) -> None:
    assert list(make_engine("ray").run(Toil(tmp_path), iter(()), workers=2)) == []
    with pytest.raises(ConfigError, match="workers is 0"):
        make_engine("ray").run(Toil(tmp_path), shards(2), workers=0)


OWN = """
import os, signal, subprocess, sys
from pathlib import Path
from test_ray_engine import Toil, shards
from emovox.batch.engines import make_engine
assert "ray" not in sys.modules
before, folders = dict(os.environ), set(Path("/tmp").glob("emovox-ray-*"))
toil = Toil(Path(sys.argv[1]), fates=((2, "dies"),), rest_s=0.05)
outcomes = make_engine("ray").run(toil, shards(6), workers=2)
first = next(outcomes)
listening = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True).stdout
ours = [line for line in listening.splitlines() if "ray" in line or "gcs" in line]
print("open to others:", [line for line in ours if "127.0.0.1" not in line])
print("open to us:", len(ours) > 2)
print("own folder:", len(set(Path("/tmp").glob("emovox-ray-*")) - folders))
rest = list(outcomes)
print("outcomes:", sorted((o.item.number, o.error is None) for o in (first, *rest)))
print("left:", set(Path("/tmp").glob("emovox-ray-*")) - folders)
print("environment:", {k for k in before.keys() ^ os.environ.keys() if not k.endswith(("_MODE"))})
print("sigterm:", signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
children = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "comm="], capture_output=True, text=True)
print("children:", [c for c in children.stdout.split() if c != "ps"])
"""


def test_a_cluster_of_our_own_is_local_quiet_and_gone_afterwards(tmp_path: Path) -> None:
    done = run_python(OWN, str(tmp_path))
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert told == [
        "open to others: []",
        "open to us: True",
        "own folder: 1",
        "outcomes: [(0, True), (1, True), (2, False), (3, True), (4, True), (5, True)]",
        "left: set()",
        "environment: set()",
        "sigterm: True",
        "children: []",
    ]
    assert done.stderr == ""


def test_the_driver_is_told_to_stop_and_leaves_nothing(tmp_path: Path) -> None:
    code = OWN.replace("rest_s=0.05", "rest_s=60")
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: len(list(tmp_path.iterdir())) == 2, "both work")
        workers = [int(file.read_text()) for file in tmp_path.iterdir()]
        process.terminate()
        assert process.wait(120) != 0
        wait_for(lambda: not any(map(alive, workers)), "the workers go too")
    finally:
        process.kill()
        process.wait()


def test_a_cluster_by_its_address(ray: Any, tmp_path: Path) -> None:
    address = ray.get_runtime_context().gcs_address
    code = """
import sys
from pathlib import Path
from test_ray_engine import Toil, shards
from emovox.batch.engines import make_engine
toil = Toil(Path(sys.argv[1]))
print(sum(o.error is None for o in make_engine("ray", address=sys.argv[2]).run(toil, shards(6), workers=2)))
"""
    done = run_python(code, str(tmp_path), address, loopback=True)
    assert (done.stdout, done.stderr) == ("6\n", "")
    assert ray.is_initialized()
    assert ray.get(ray.remote(lambda: 7).remote()) == 7, "the cluster runs on"


def test_no_cluster_there(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from test_ray_engine import Toil, shards
from emovox.batch.engines import make_engine
from emovox.errors import EmovoxError
try:
    next(make_engine("ray", address="127.0.0.1:1025").run(Toil(Path(sys.argv[1])), shards(6), workers=2))
except EmovoxError as error:
    print(error)
"""
    done = run_python(code, str(tmp_path))
    assert done.stdout.startswith("no cluster at '127.0.0.1:1025': "), done.stdout + done.stderr


def test_the_engine_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EmovoxError, match=r"-m pip install .*\[distributed\]'"):
        make_engine("ray")


# --- helpers --------------------------------------------------------------------------------------


def environment(*, loopback: bool = False) -> dict[str, str]:
    own = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if loopback else {}
    return {**os.environ, **own, "PYTHONPATH": PATHS}


def run_python(code: str, *argv: str, loopback: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *argv],
        env=environment(loopback=loopback),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(happens: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + 180
    while not happens():
        assert time.monotonic() < end_s, f"not so after three minutes: {what}"
        time.sleep(0.1)
