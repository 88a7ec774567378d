"""The formulas of scale against what is really written, held and exchanged."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import RandomContent, write_toy_clips

from raytalk.learning.checkpoint import Snapshot, State
from raytalk.learning.meta import MetaLearner
from raytalk.learning.settings import MetatrainSettings

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# Last: a benchmark has the name of a package.
sys.path.append(str(BENCHMARKS))

from messages import Sizes  # noqa: E402
from reading import ReadingSettings, counting_s3, read_all  # noqa: E402
from scaling import Model, ScalingSettings, main  # noqa: E402
from scaling_tables import TABLES, bytes_text, number, seconds_text  # noqa: E402

from raytalk.storage import Storage  # noqa: E402


def test_the_paper_has_the_sizes_of_the_paper() -> None:
    sizes = Sizes.of(MetatrainSettings.resolve("paper"))
    parts = (sizes.embedder, sizes.generator, sizes.discriminator)
    assert [round(part.parameters / 1e6) for part in parts] == [15, 38, 20]


def test_a_checkpoint_is_as_large_as_the_formula_says(tmp_path: Path) -> None:
    run = MetatrainSettings.resolve("debug")
    names = [f"id{number:05d}/21Uxsk56VDQ" for number in range(3000)]
    content: Any = RandomContent()
    learner = MetaLearner(run, names, content, None, torch.device("cpu"))
    for optimizer in (learner.talker_optimizer, learner.discriminator_optimizer):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    Snapshot.take(learner, State(1, 1.0, 1, 0, "dlib", [])).write(tmp_path)
    expected = Sizes.of(run).checkpoint(len(names), len(names[0]))
    for name, size in expected.items():
        file = tmp_path / (name if "." in name else f"{name}.safetensors")
        assert file.stat().st_size == pytest.approx(size, rel=0.04), name
    held = (learner.rows.rows, learner.rows.first_moment, learner.rows.second_moment, learner.rows.visits)
    assert sum(tensor.nbytes for tensor in held) == Sizes.of(run).rows(len(names))


def test_more_gpus_cost_more_and_take_less_time() -> None:
    model = Model(ScalingSettings())
    assert model.hours(1, 1) == pytest.approx(14.6, abs=0.1)  # as measured
    assert model.hours(1, 1) > model.hours(1, 8) > model.hours(1, 64)
    assert model.hours(1, 8) * 8 > model.hours(1, 1)
    assert model.rate * 2 * model.efficiency(2, model.host_link) == pytest.approx(391, abs=1)  # as measured
    slow = Model(ScalingSettings(links="3.1"))
    assert slow.hours(1, 64) > 2 * model.hours(1, 64)


def test_constants_can_be_changed(capsys: pytest.CaptureFixture[str]) -> None:
    main(ScalingSettings(table="cost", gpus="1", gpu_price=3.0))
    dear = capsys.readouterr().out
    main(ScalingSettings(table="cost", gpus="1", gpu_price=1.5))
    cheap = capsys.readouterr().out
    assert "$44" in dear
    assert "$22" in cheap


def test_every_table_is_one() -> None:
    model = Model(ScalingSettings())
    for name, table in TABLES.items():
        lines = table(model).splitlines()
        assert len({line.count("|") for line in lines}) == 1, name
        assert len(lines) > 3, name


def test_numbers_for_people() -> None:
    assert [bytes_text(value) for value in (12, 1234, 5.93e12, 646e6)] == ["12 B", "1.23 kB", "5.93 TB", "646 MB"]
    assert [seconds_text(value) for value in (0.19, 92, 400, 52_000)] == ["0.19 s", "92 s", "6.7 minutes", "14 h"]
    assert [number(value) for value in (0.5, 8, 1234567, 1.09e9)] == ["0.5", "8", "1,234,567", "1.09 billion"]


@pytest.mark.s3
def test_requests_of_reading_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    write_toy_clips(str(tmp_path), people=8, held_out=0, frames=12, per_file=4)
    local = Storage(str(tmp_path))
    files = local.entries("train")
    with counting_s3() as (uri, counting):
        remote = Storage(uri)
        puts = counting.during(lambda: [remote.write(entry.path, local.read(entry.path)) for entry in files])
        result = read_all(ReadingSettings(resolution=64), remote, counting, puts, sum(entry.size for entry in files))
    assert (result["files"], result["clips"]) == (2, 8)
    assert puts["PUT"] == 2
    stored = sum(entry.size for entry in files) / 8
    assert result["bytes per clip"] == round(stored)
    assert result["drawn, per file and epoch"]["GET"] >= 1
    assert 0.5 * stored < result["bytes per clip in an epoch"] < 2.5 * stored  # footers weigh much in tiny files


def test_messages_on_real_processes_are_those_of_the_formula() -> None:
    command = [sys.executable, str(BENCHMARKS / "coordination.py"), "workers=2", "steps=2", "windows=1", "videos=20"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    [run] = json.loads(done.stdout)["runs"]
    assert run["messages of a step"] == {"all_reduce": 3, "all_gather": 6}
    assert run["bytes given to messages of a step"] == run["by the formula"]
    assert run["bytes sent by a rank in a step"] == pytest.approx(run["by the formula, a ring"], rel=0.05)
    assert run["W the same on every rank"]
    assert run["messages of a step alone, ms"] > 0
