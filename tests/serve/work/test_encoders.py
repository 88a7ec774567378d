"""Frames become signed files, in threads or in processes."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import c2pa
import cv2
import numpy as np
import psutil
import pytest
from toy_desk import in_loop

from serve.records.store import Store
from serve.work.encoders import Encoders
from serve.work.provenance import Signer


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer.from_store(Store(str(tmp_path_factory.mktemp("kept"))))


def frames(count: int) -> list[np.ndarray]:
    return [np.full((32, 32, 3), (10 * number, 128, 40), np.uint8) for number in range(count)]


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def children() -> list[psutil.Process]:
    return [each for each in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(each.cmdline())]


@pytest.mark.parametrize("processes", [0, 2])
@in_loop
async def test_files_are_signed_and_in_the_order_of_the_frames(signer: Signer, processes: int) -> None:
    encoders = Encoders(signer, processes)
    await encoders.start()
    made = await encoders.encode(frames(12), "jpeg", 95, False)
    encoders.close()
    for number, data in enumerate(made):
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert abs(float(picture[..., 0].mean()) - 10 * number) < 3
    found = json.loads(c2pa.Reader("image/jpeg", io.BytesIO(made[0])).json())
    wrong = {each["code"] for each in found.get("validation_status", [])}
    assert wrong <= {"signingCredential.untrusted"}


@in_loop
async def test_a_process_that_is_killed_is_replaced(signer: Signer) -> None:
    encoders = Encoders(signer, 2)
    await encoders.start()
    before = children()
    assert len(before) == 2
    before[0].send_signal(signal.SIGKILL)
    made = await encoders.encode(frames(3), "png", 0, True)
    assert all(data.startswith(b"\x89PNG") for data in made)
    # Not waited for by psutil: whoever takes a child's end away from its executor lets that wait for ever.
    end = time.monotonic() + 10
    while any(not gone(each) for each in before) and time.monotonic() < end:
        time.sleep(0.05)
    assert len([each for each in children() if not gone(each)]) == 2
    encoders.close()


def test_processes_end_with_whoever_started_them(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import asyncio, sys, time\n"
        "from serve.records.store import Store\n"
        "from serve.work.encoders import Encoders\n"
        "from serve.work.provenance import Signer\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(Encoders(Signer.from_store(Store(sys.argv[1])), 2).start())\n"
        "    print('there', flush=True)\n"
        "    time.sleep(100)\n"
    )
    root = str(Path(__file__).resolve().parents[3])
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "kept")],
        env=os.environ | {"PYTHONPATH": root},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "there\n"
    young = psutil.Process(parent.pid).children(recursive=True)
    assert len(young) >= 2
    parent.kill()
    parent.wait(10)
    end = time.monotonic() + 10
    while any(not gone(each) for each in young) and time.monotonic() < end:
        time.sleep(0.05)
    assert [each for each in young if not gone(each)] == []
