"""jobs/finetune.py as a person runs it, and a table of people on a cluster."""

import csv
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import psutil
import pytest

from raytalk.avatar import Avatar
from raytalk.enrolment.crowd import finetune_table
from raytalk.enrolment.finetune import finetune
from raytalk.enrolment.room import room_on
from raytalk.enrolment.settings import FinetuneSettings
from raytalk.errors import RaytalkError, SettingsError
from raytalk.storage import Storage

ROOT = Path(__file__).resolve().parents[2]


def settings(run: Path, output: Path, **more: Any) -> FinetuneSettings:
    given = {"checkpoint": str(run), "output": str(output), "fewshot.steps": 2, "fewshot.batch_size": 2, "shots": 3}
    return FinetuneSettings.resolve(None, given, more)


def job(*words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONWARNINGS": "error::ResourceWarning"}
    command = [sys.executable, str(ROOT / "jobs" / "finetune.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)


def test_the_command(run: Path, clips: Path, tmp_path: Path) -> None:
    words = (f"checkpoint={run}", f"images={clips}", "clip=person1/video0/0", f"output={tmp_path / 'ada'}", "name=Ada",
             "fewshot.steps=2", "fewshot.batch_size=2", "shots=3", f"sheet={tmp_path / 'sheet.png'}")  # fmt: skip
    ended = job(*words)
    assert ended.returncode == 0, ended.stderr
    assert "Ada: the feed-forward avatar is ready" in ended.stdout
    assert "step 2 of 2" in ended.stdout
    assert Avatar.load(str(tmp_path / "ada")).card.mode == "FT"
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (4 * (32 + 22), 3 * 32, 3)
    again = job(*words)
    assert "Ada is there already (FT)" in again.stdout
    assert again.returncode == 0
    wrong = job(f"checkpoint={run}", f"images={clips}", f"output={tmp_path / 'x'}")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("raytalk: ")
    assert "say whose clip" in wrong.stderr
    assert wrong.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_feed_forward_alone_and_fine_tuned_later(run: Path, clips: Path, tmp_path: Path) -> None:
    place, of = tmp_path / "ada", {"images": str(clips), "clip": "person1/video0/0"}
    finetune(settings(run, place, mode="FF", **of))
    assert Avatar.load(str(place)).card.mode == "FF"
    finetune(settings(run, place, **of))
    made = Avatar.load(str(place)).card
    assert made.mode == "FT"
    finetune(settings(run, place, again=True, **of))
    assert Avatar.load(str(place)).card.id != made.id


def test_what_else_lies_there_stays_and_what_a_killed_job_left_goes(run: Path, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "weights-0123456789ab.safetensors").write_bytes(b"half")
    finetune(settings(run, tmp_path, images=str(clips), clip="person1/video0/0"))
    assert Avatar.load(str(tmp_path)).card.mode == "FT"
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert len(list(tmp_path.glob("weights-*"))) == 1


def test_a_fine_tuned_avatar_is_not_replaced_by_a_feed_forward_one(run: Path, clips: Path, tmp_path: Path) -> None:
    of = {"images": str(clips), "clip": "person1/video0/0"}
    finetune(settings(run, tmp_path, **of))
    finetune(settings(run, tmp_path, mode="FF", **of))
    assert Avatar.load(str(tmp_path)).card.mode == "FT"


@pytest.mark.s3
def test_in_an_object_store(run: Path, clips: Path, s3_server: str) -> None:
    place = f"{s3_server}/people/ada"
    finetune(settings(run, place, images=str(clips), clip="person1/video0/0", sheet=f"{s3_server}/ada.png"))  # type: ignore[arg-type]
    assert Avatar.load(place).card.mode == "FT"
    entries = [entry.path for entry in Storage(place).entries()]
    assert len(entries) == 2
    assert Storage(s3_server).read("ada.png")[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "give images= .* or people="),
        ({"images": "a", "people": "b"}, "one of them"),
        ({"people": "b", "name": "Ada"}, "are for one person"),
        ({"images": "a", "sheet": "x.jpg"}, r"must end with \.png"),
        ({"images": "a", "shots": 33}, "shots"),
    ],
)
def test_settings_that_do_not_fit(words: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        settings(Path("run"), Path("out"), **words)


@pytest.mark.ray
def test_a_table(run: Path, clips: Path, tmp_path: Path, ray_session: None, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "people.csv"
    table.write_text(
        f"name,images,clip,mode\nAda,{clips},person1/video0/0,\nBob,{clips},person2/video0/0,FF\nEve,{clips},nobody,\n"
    )
    wanted = settings(run, tmp_path / "out", people=str(table))
    with pytest.raises(
        RaytalkError, match=r"1 of 3 people could not be made \(Eve: there is no clip 'nobody'"
    ) as failed:
        finetune_table(wanted)
    assert failed.value.exit_status == 2
    assert Avatar.load(str(tmp_path / "out" / "ada")).card.mode == "FT"
    assert Avatar.load(str(tmp_path / "out" / "bob")).card.mode == "FF"
    assert not (tmp_path / "out" / "eve").exists()
    with (tmp_path / "out" / "people.csv").open() as file:
        assert [(row["id"], row["state"]) for row in csv.DictReader(file)] == [
            ("ada", "ready"),
            ("bob", "ready"),
            ("eve", "failed"),
        ]
    assert "Ada: step 2 of 2" in capsys.readouterr().out
    table.write_text(table.read_text().replace("nobody", "person3/video0/0"))
    states = [result.state for result in finetune_table(wanted)]
    assert states == ["there already", "there already", "ready"]


@pytest.mark.ray
def test_somebody_whose_worker_dies_is_begun_anew(run: Path, clips: Path, tmp_path: Path, ray_session: None) -> None:
    table = tmp_path / "people.csv"
    table.write_text(f"name,images,clip\nAda,{clips},person1/video0/0\nBob,{clips},person2/video0/0\n")
    killed: list[int] = []

    def kill() -> None:
        """The worker of whoever is ready feed-forward first."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not killed:
            if any((tmp_path / "out" / name / "avatar.json").exists() for name in ("ada", "bob")):
                workers = [p for p in psutil.process_iter(["cmdline"]) if "_Enroller" in str(p.info["cmdline"])]
                for worker in workers:
                    worker.kill()
                    killed.append(worker.pid)
            time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    more = {"fewshot.steps": 60, "table.cpus_per_person": 1}
    results = finetune_table(settings(run, tmp_path / "out", people=str(table), **more))
    killer.join()
    assert killed
    assert [result.state for result in results] == ["ready", "ready"]
    for name in ("ada", "bob"):
        assert Avatar.load(str(tmp_path / "out" / name)).card.learned["steps"] == 60


@pytest.mark.parametrize(
    ("nodes", "words", "expected"),
    [
        ([{"CPU": 2}], {}, (1, 0, 2)),
        ([{"CPU": 8}], {}, (4, 0, 2)),
        ([{"CPU": 2}] * 8, {}, (1, 0, 16)),
        ([{"CPU": 16, "GPU": 2}, {"CPU": 4}], {}, (1, 1, 2)),
        ([{"CPU": 1, "GPU": 4}], {}, (1, 1, 1)),
        ([{"CPU": 16, "GPU": 2}], {"table.gpus_per_person": 0.4}, (1, 0.4, 4)),
        ([{"CPU": 16, "GPU": 2}], {"device": "cpu"}, (4, 0, 4)),
        ([{"CPU": 3}, {"CPU": 3}], {"table.cpus_per_person": 2}, (2, 0, 2)),
        ([{"CPU": 0}], {"table.actors": 5, "device": "cuda"}, (1, 1, 5)),
        ([{"CPU": 2}], {"table.actors": 5, "device": "cpu"}, (1, 0, 5)),
        ([{"CPU": 16, "GPU": 1}], {"table.actors": 3, "table.gpus_per_person": 0.5}, (1, 0.5, 3)),
    ],
)
def test_room(nodes: list[dict[str, float]], words: dict[str, Any], expected: tuple[float, float, int]) -> None:
    given = settings(Path("run"), Path("out"), people="p.csv", **words)
    assert room_on(nodes, given.table, given.device) == expected


@pytest.mark.parametrize("words", [{"table.cpus_per_person": 3}, {"device": "cuda"}, {"table.gpus_per_person": 1}])
def test_no_room(words: dict[str, Any]) -> None:
    given = settings(Path("run"), Path("out"), people="p.csv", **words)
    with pytest.raises(SettingsError, match="nobody can be learned with"):
        room_on([{"CPU": 2}, {"CPU": 2}], given.table, given.device)
