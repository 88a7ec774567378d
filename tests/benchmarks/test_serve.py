"""The load generator, against a service in this process, and the people it is given."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from raytalk.avatar import Avatar
from serve.records.record import Avatar as Record
from serve.records.store import Store
from serve.settings import LimitSettings, ServiceSettings

ROOT = Path(__file__).parents[2]


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def benchmark(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "serve.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two fine-tuned people and one feed-forward one, of a model of random weights."""
    folder = tmp_path_factory.mktemp("people")
    for options in (["people=2", "mode=FT", "recipe=debug"], ["people=1", "mode=FF", f"checkpoint={folder}/model"]):
        command = [sys.executable, "-m", "benchmarks.serve_people", f"storage={folder}", *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert len(done.stdout.split()) == int(options[0][-1])
    return folder


def test_people_can_be_rendered_and_have_records(storage: Path) -> None:
    store = Store(str(storage))
    records = [Record.model_validate_json(store.read_record("avatars", id) or b"") for id in store.ids("avatars")]
    assert sorted(record.mode for record in records) == ["FF", "FT", "FT"]
    for record in records:
        assert record.version is not None
        avatar = Avatar.load(store.avatar_uri(record.id, record.version.folder))
        assert avatar.card.resolution == record.resolution
        assert np.isfinite(avatar.render(avatar.landmarks[:1])).all()


def test_it_drives_people_at_the_rate_asked_for(storage: Path) -> None:
    fakes = module(ROOT / "tests" / "serve" / "front" / "fakes.py")
    settings = ServiceSettings(limits=LimitSettings(live=2))
    with fakes.Service(storage, settings, working=False).running() as service:
        options = [f"url={service.url}", "rate=10", "seconds=1.5", "warm_up=0.3", "form=json"]
        done = benchmark(*options, "people=1,2")
        assert done.returncode == 0, done.stderr
        rows = json.loads(done.stdout)
        assert [row["people"] for row in rows] == [1, 2]
        for row in rows:
            assert row["problems"] == {}
            assert 13 * row["people"] <= row["sent"] <= 16 * row["people"]
            assert 2 < row["frames/s"][0] <= row["frames/s"][2] <= 11
            assert row["encode_ms"] == 1.0
            p50, p95, p99 = row["server_ms"]
            assert 0 < p50 <= p95 <= p99
            assert row["round_trip_ms"][0] > p50
        # One connection more than an owner may have.
        (row,) = json.loads(benchmark(*options, "people=3").stdout)
        assert sum(row["problems"].values()) == 1
        assert row["frames/s"][0] == 0 < row["frames/s"][1]
        table = benchmark(*options[:-1], "people=1", "mode=FF").stdout.splitlines()
        assert len(table) == 3
        assert len({line.count("|") for line in table}) == 1
        assert benchmark(*options, "people=2", "mode=FF").returncode != 0


def test_figures_are_made_of_what_the_service_says() -> None:
    made = module(ROOT / "benchmarks" / "serve.py")

    def head(server: float, skipped: int) -> dict[str, float]:
        parts = {"detect_ms": 5.0, "render_ms": 7.0, "encode_ms": 1.0, "wait_ms": 2.0}
        return parts | {"server_ms": server, "round_trip_ms": server + 1, "skipped": skipped, "bytes": 4000}

    busy = made.Heard([head(20.0 + number / 100, number) for number in range(101)], 200)
    idle = made.Heard([head(20.5, 3)] * 50, 50)
    row = made.summary(3, 25, 2.0, [busy, idle, made.Heard(problems=made.Counter(gone=1))])
    assert row["frames/s"] == [0, 25, 50.5]
    assert row["server_ms"] == pytest.approx([20.5, 20.925, 20.985], abs=0.011)
    assert row["round_trip_ms"][0] == 21.5
    assert row["front_ms"][0] == 5.5
    assert (row["detect_ms"], row["render_ms"], row["kB"]) == (5, 7, 4)
    assert (row["sent"], row["skipped"], row["problems"]) == (250, 100, {"gone": 1})


def test_a_service_that_is_not_there_is_said() -> None:
    done = benchmark("url=http://127.0.0.1:9", "people=1")
    assert done.returncode != 0
    assert "does not answer" in done.stderr
