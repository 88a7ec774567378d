"""The service is deployed again with another setting while it is asked: nobody's connection breaks."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests
from people import woman
from running_service import deployed, settings
from toy_run import write_toy_run

pytestmark = [pytest.mark.ray, pytest.mark.slow]
_SETTLED_S = 20.0


class Asked:
    """What was answered, in order: a status, or the name of what went wrong."""

    def __init__(self, ask: Callable[[], requests.Response]) -> None:
        self._ask = ask
        self.answers: list[str] = []
        self._over = threading.Event()

    def _again(self) -> None:
        while not self._over.is_set():
            try:
                answer = self._ask()
                come_again = answer.status_code == 503 and "Retry-After" in answer.headers
                self.answers.append("later" if come_again else str(answer.status_code))
            except requests.RequestException as error:
                self.answers.append(f"{type(error).__name__}: {error}")
            time.sleep(0.05)

    @contextmanager
    def going(self) -> Iterator[None]:
        thread = threading.Thread(target=self._again, daemon=True)
        thread.start()
        yield
        self._over.set()
        thread.join(60)


def test_an_update_breaks_no_request(ray_session: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ray import serve

    from serve.app import app

    storage, run = tmp_path / "kept", write_toy_run(tmp_path / "run")
    with deployed(storage, run, steps=20) as service:
        avatar = service.until(service.make(woman(), mode="FF"), lambda document: document["state"] == "ready")
        frames = service.url + avatar["links"]["frames"]
        asked = {
            "front": Asked(lambda: requests.get(f"{service.url}/v1/session", timeout=60)),
            "desk": Asked(lambda: requests.get(f"{service.url}/v1/avatars", timeout=60)),
            "renderer": Asked(lambda: requests.post(frames, json={"pose": {"yaw": 10}}, timeout=60)),
        }
        with ExitStack() as going:
            for each in asked.values():
                going.enter_context(each.going())
            time.sleep(1)
            before = service.processes("front")
            changed = settings(storage, run, 20)
            changed["limits"] = {"requests_per_minute": 999_999}
            serve.run(app(changed), name="raytalk", route_prefix="/")
            time.sleep(_SETTLED_S)
        after = service.processes("front")
        told = {part: {answer: each.answers.count(answer) for answer in each.answers} for part, each in asked.items()}
        with capsys.disabled():
            print(f"\n{told}")
        assert {process.pid for process in before}.isdisjoint(process.pid for process in after), "it was replaced"
        assert told["front"].keys() == {"200"}
        # Of the desk there is one: who asks while the next one starts is told to come again.
        assert told["desk"].keys() <= {"200", "later"}
        assert told["renderer"].keys() <= {"200", "later"}
        for part in ("desk", "renderer"):
            assert asked[part].answers[-1] == "200"
