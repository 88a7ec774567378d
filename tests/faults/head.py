"""The head of a cluster dies and is started again, its state in Redis, while the service is under load.

The service's replicas are on another node. What has to be the same in both lives of a head is its address, the Redis
and the namespace in it (docs.ray.io, GCS fault tolerance).
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import ray
import requests
import yaml
from ray.core.generated.gcs_pb2 import GcsNodeInfo
from running_service import RunningService, free_port

from faults.outcome import Outcome
from faults.serve import AGAIN_S, DONE_S, account, arguments, kill_all, loaded, records, wait_until_busy

ROOT = Path(__file__).resolve().parents[2]
AWAY_S = 20.0
"""for so long there is no head"""
_START_S = 300.0
_TRIES = 4


def redis_program() -> str | None:
    """Where there is one (Debian: apt-get install redis-server)."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


class Cluster:
    """A head without room for replicas and a node that has them, as `ray start` starts them."""

    def __init__(self, folder: Path, redis: str) -> None:
        # Sockets lie below it, and their paths must be short.
        self._ray = Path(tempfile.mkdtemp(prefix="head-"))
        self._log = folder / "cluster.log"
        self._port = free_port()
        # Ray takes loopback for the address that the machine has in its network.
        self._host = ray.util.get_node_ip_address()
        self.address = f"{self._host}:{self._port}"
        self.http = free_port()
        """where the node with the replicas answers"""
        kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        self._environment = kept | {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
            "RAY_AUTH_MODE": "disabled",
            "RAY_REDIS_ADDRESS": redis,
            "RAY_external_storage_namespace": "raytalk",
            "RAY_memory_monitor_refresh_ms": "0",
            # Nodes of one machine cannot both listen at a port; clients ask the node that stays.
            "RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(self.http),
            # A node waits so long for a head, as KubeRay sets it.
            "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
        }
        self._started: list[subprocess.Popen[bytes]] = []

    def command(self, program: str, *words: str) -> "subprocess.Popen[bytes]":
        """One of Ray's, in a session of its own."""
        with self._log.open("ab") as output:
            path = str(Path(sys.executable).with_name(program))
            process = subprocess.Popen(
                [path, *words],
                cwd=ROOT,
                env=self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def start_head(self, block: bool) -> "subprocess.Popen[bytes]":
        """block: what is started ends with the process that starts it, and all of it if a part does.

        Without: what a start that failed has left behind is ended first, so that a node is to be started afterwards.
        """
        if not block:
            self._end()
        # What tells `ray start` that there is a cluster already, because its node is on this machine.
        (self._ray / "ray_current_cluster").unlink(missing_ok=True)
        words = ["--head", "--port", str(self._port), "--num-cpus", "0", "--include-dashboard", "false"]
        return self._start(*words, *(["--block"] if block else []))

    def start_node(self) -> "subprocess.Popen[bytes]":
        """With room for everything; the process has all others of it below."""
        return self._start("--address", self.address, "--num-cpus", "4", "--block")

    def _start(self, *words: str) -> "subprocess.Popen[bytes]":
        common = ["--node-ip-address", self._host, "--temp-dir", str(self._ray), "--disable-usage-stats"]
        return self.command("ray", "start", *common, "--object-store-memory", str(256 << 20), *words)

    def alive(self) -> set[str]:
        """Ids of nodes, by what GCS says; none if it says nothing."""
        if not _listens(self._host, self._port):
            return set()
        try:
            client = ray._raylet.GcsClient(address=self.address)
            nodes = client.get_all_node_info(timeout=10)
            return {node.node_id.hex() for node in nodes.values() if node.state == GcsNodeInfo.ALIVE}
        except Exception:  # noqa: BLE001 - what it raises while nobody answers is not documented
            return set()

    def gcs(self) -> psutil.Process:
        """Its process."""
        (found,) = [each for each in self._processes() if each.name() == "gcs_server"]
        return found

    def _processes(self) -> list[psutil.Process]:
        """Whose command line names this cluster's folder, or that were started here, and those below them."""
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(str(self._ray) in word for word in process.cmdline()):
                    for each in (process, *process.children(recursive=True)):
                        found[each.pid] = each
        return list(found.values())

    def last_words(self) -> str:
        return self._log.read_text()[-3000:]

    def _end(self) -> None:
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                process.kill()

    def close(self) -> None:
        self._end()
        for started in self._started:
            started.kill()
            started.wait()
        shutil.rmtree(self._ray, ignore_errors=True)


def gcs_killed(folder: Path) -> Outcome:
    """GCS alone is killed, and started again with its own command line."""

    def kill(cluster: Cluster, head: int) -> Callable[[], "subprocess.Popen[bytes]"]:
        gcs = cluster.gcs()
        words, environment, place = gcs.cmdline(), gcs.environ(), gcs.cwd()
        gcs.send_signal(signal.SIGKILL)
        return lambda: subprocess.Popen(words, env=environment, cwd=place, stdout=subprocess.DEVNULL)

    return _away("GCS killed and started again", folder, block=False, kill=kill)


def head_killed(folder: Path) -> Outcome:
    """Everything on the head's node is killed, and the head started again with the same command."""

    def kill(cluster: Cluster, head: int) -> Callable[[], "subprocess.Popen[bytes]"]:
        top = psutil.Process(head)
        kill_all([top, *top.children(recursive=True)])
        return lambda: cluster.start_head(block=True)

    return _away("the head killed and started again", folder, block=True, kill=kill)


def _away(
    fault: str,
    folder: Path,
    block: bool,
    kill: Callable[[Cluster, int], Callable[[], "subprocess.Popen[bytes]"]],
) -> Outcome:
    with _redis(folder) as redis, _cluster(folder, redis) as cluster:
        head = _up(lambda: cluster.start_head(block), lambda: len(cluster.alive()) == 1, cluster)
        # A head that is started again is another node; the old one is known from Redis for some time.
        gone = cluster.alive() if block else set()
        node = psutil.Process(_up(cluster.start_node, lambda: len(cluster.alive()) == 2, cluster))
        service = _deployed(cluster, node, folder)
        load = loaded(service, folder)
        with load.going():
            before = wait_until_busy("films", load)
            killed = time.monotonic()
            start_again = kill(cluster, head)
            time.sleep(AWAY_S / 2)
            # Who is killed now is missed by nobody before there is a head again.
            (maker,) = service.processes("films")
            maker.kill()
            time.sleep(AWAY_S / 2)
            # Those that are still waited for are counted when all is well again.
            away_until = time.monotonic()
            alone = not service.processes("films")
            started = time.monotonic()
            _up(start_again, lambda: len(cluster.alive() - gone) == 2, cluster)
            answers = time.monotonic() - started
            _until(lambda: len(service.processes("films")) == 1, cluster)
            replaced = time.monotonic() - started
            well = load.until_well(killed, AGAIN_S)
            ended = time.monotonic()
        load.until_done(DONE_S)
        kept, measured = account(load, records(service.storage), before, killed, ended)
    asked, wrong = load.errors(killed, away_until)
    figures: dict[str, float | str] = {
        "s without it": round(started - killed, 1),
        "requests meanwhile, all parts": asked,
        "of these not answered well": sum(wrong.values()),
        "s from its start until both nodes are known": round(answers, 1),
        "s until a replica killed meanwhile is replaced": round(replaced, 1),
    }
    return Outcome(fault, held=well and alone and kept, measured=figures | measured)


def _deployed(cluster: Cluster, node: psutil.Process, folder: Path) -> RunningService:
    application = {
        "name": "raytalk",
        "route_prefix": "/",
        "import_path": "serve.app:app",
        "args": arguments(folder),
    }
    described = {"http_options": {"host": "127.0.0.1", "port": free_port()}, "applications": [application]}
    (folder / "service.yaml").write_text(yaml.safe_dump(described))
    place = ["--address", cluster.address, "--app-dir", str(ROOT), "--non-blocking"]
    status = cluster.command("serve", "run", *place, str(folder / "service.yaml")).wait(_START_S)
    assert status == 0, cluster.last_words()
    service = RunningService(f"http://127.0.0.1:{cluster.http}", folder / "kept", node)

    def ready() -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{service.url}/readyz", timeout=5).status_code == 200
        return False

    _until(ready, cluster)
    return service


def _listens(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=5):
        return True
    return False


def _up(start: Callable[[], "subprocess.Popen[bytes]"], up: Callable[[], bool], cluster: Cluster) -> int:
    """Start part of a cluster, again if Ray gives up (after 30 s, on a busy machine); the process that stays."""
    for _ in range(_TRIES):
        started = start()
        end = time.monotonic() + _START_S
        while (started.poll() or 0) <= 0 and time.monotonic() < end:
            if up():
                return started.pid
            time.sleep(0.2)
    raise AssertionError(cluster.last_words())


def _until(true: Callable[[], bool], cluster: Cluster) -> None:
    end = time.monotonic() + _START_S
    while not true():
        assert time.monotonic() < end, cluster.last_words()
        time.sleep(0.2)


@contextmanager
def _cluster(folder: Path, redis: str) -> Iterator[Cluster]:
    cluster = Cluster(folder, redis)
    try:
        yield cluster
    finally:
        cluster.close()


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    """A server of its own on loopback, which keeps everything in memory; its address."""
    program, port = redis_program(), free_port()
    assert program, "no Redis here (Debian: apt-get install redis-server)"
    folder.mkdir(parents=True, exist_ok=True)
    words = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    with ExitStack() as stack:
        log = stack.enter_context((folder / "redis.log").open("wb"))
        server = subprocess.Popen([program, *words], stdout=log, stderr=log)
        stack.callback(server.wait)
        stack.callback(server.kill)
        end = time.monotonic() + 60
        while not _listens("127.0.0.1", port) and time.monotonic() < end:
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
