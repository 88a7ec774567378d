"""The whole service as its users start it: `serve run`, in processes of its own, with a Ray of its own."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import requests
import yaml

_START_S = 480.0
_STOP_S = 60.0


class RealService:
    """A running one. url: without a slash at its end."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
        self.process, self.url, self.log = process, url, log

    def memory(self) -> dict[str, int]:
        """Bytes that each replica, and the proxy, has for itself alone; by deployment and process."""
        found = {}
        for process in _descendants(self.process.pid):
            name = " ".join(process.cmdline())
            # ray::ServeReplica:raytalk:desk.take, while that runs.
            part = re.search(r"ServeReplica:\w+:(\w+)|(ProxyActor)", name)
            if part:
                found[f"{part[1] or 'proxy'} {process.pid}"] = process.memory_full_info().uss
        return found

    def metrics(self) -> str:
        """What Prometheus would read."""
        (session,) = Path("/tmp/ray").glob(f"session_*_{self.process.pid}")
        (port,) = session.glob("metrics_export_port_*")
        return requests.get(f"http://127.0.0.1:{port.read_text().strip()}/metrics", timeout=30).text

    def ready(self) -> bool:
        """Whether all parts answer."""
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/readyz", timeout=5).status_code == 200
        return False


@contextlib.contextmanager
def real_service(folder: Path, args: dict[str, Any], port: int = 0) -> Iterator[RealService]:
    """args: of `serve.settings.ServiceSettings`; storage is made below folder if they name none. port: 0 for any."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", port)) as place:
        port = place.getsockname()[1]
    application = {
        "name": "raytalk",
        "route_prefix": "/",
        "import_path": "serve.app:app",
        "args": {"storage": str(folder / "kept"), **args},
    }
    described = {"http_options": {"host": "127.0.0.1", "port": port}, "applications": [application]}
    (folder / "service.yaml").write_text(yaml.safe_dump(described))
    environment = os.environ | {"RAY_ADDRESS": "local", "RAY_AUTH_MODE": "disabled"}
    program = Path(sys.executable).with_name("serve")
    root = Path(__file__).parents[1]
    log = folder / "service.log"
    with log.open("wb") as output:
        command = [str(program), "run", "--app-dir", str(root), str(folder / "service.yaml")]
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=output, stderr=output)
    service = RealService(process, f"http://127.0.0.1:{port}", log)
    try:
        end = time.monotonic() + _START_S
        while not service.ready():
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(log.read_text()[-5000:])
            time.sleep(0.5)
        yield service
    finally:
        family = _descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
        for left in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        process.kill()
        process.wait(_STOP_S)


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
