"""What happens to a training run when workers, nodes, checkpoints or the tracking server fail."""

import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from mlflow_server import MlflowServer
from ray.cluster_utils import Cluster
from spot_metadata import SpotMetadata
from toy import TINY_NETWORKS
from toy_run import write_toy_run

from faults.jobs import kill_node, several_nodes
from faults.outcome import Outcome
from faults.training_run import WINDOW, Training, curve_of, state_of, training, unreadable, workers_below
from raytalk.errors import CheckpointError
from raytalk.learning import checkpoint
from raytalk.learning.meta import MetaLearner
from raytalk.learning.resuming import Resumption
from raytalk.learning.settings import MetatrainSettings
from raytalk.networks.perceptual import load_perceptual
from raytalk.storage import Storage

_SPOT_NOTICE = str(Path(__file__).resolve().parents[2] / "cluster" / "spot_notice.py")
_SAME = 0.02
"""relative difference between two values of one window: the order of sums differs, and it is an adversarial game"""


def workers_killed(folder: Path, times: int = 10, episodes: int = 800, seed: int = 0) -> Outcome:
    """kill -9 of one of two workers, at random moments; every third is killed again while it starts."""
    chance = random.Random(seed)
    moments = sorted(chance.randrange(WINDOW, episodes - 8 * WINDOW) for _ in range(times - times // 4))
    recovered: list[float] = []
    killed = 0
    with several_nodes(1, cpus=2) as cluster:
        raylet = cluster.head_node.all_processes["raylet"][0].process.pid
        with training(folder, cluster.address, workers=2, episodes=episodes, max_failures=times) as run:
            for moment in moments:
                run.wait_until_shown(moment)
                time.sleep(chance.uniform(0, 1))
                at = _kill_one([raylet], chance)
                killed += 1
                if killed < times and killed % 4 == 3:
                    run.wait_for("a worker failed|going on from|content loss through", after=at)
                    at = _kill_one([raylet], chance)
                    killed += 1
                recovered.append(run.wait_for("^episodes ", after=at).at - at)
            status = run.end()
    state, curve, broken = state_of(run.run), curve_of(run.run, _store(run), episodes), unreadable(run.run)
    return Outcome(
        f"a worker killed {times} times in a run of {episodes} episodes",
        held=(
            status == 0
            and killed == times
            and (state.episodes, state.steps) == (episodes, episodes // 4)
            and not broken
            and curve.missing == 0
            and curve.difference < _SAME
        ),
        measured={
            "kills": killed,
            "episodes of the last checkpoint": state.episodes,
            "episodes shown again": run.repeated(),
            "s to the next progress, median": round(statistics.median(recovered), 1),
            "s to the next progress, most": round(max(recovered), 1),
            "unreadable checkpoints": len(broken),
            "windows without a loss": curve.missing,
            "windows seen twice": curve.again,
            "largest difference between their losses": f"{curve.difference:.2%}",
            "largest step of the loss from window to window": f"{curve.jump:.1%}",
        },
    )


def node_killed(folder: Path) -> Outcome:
    """One of two nodes loses power, the run goes on with one worker, and with two again when another node comes."""
    with several_nodes(1, cpus=3) as cluster:
        victim = _add_node(cluster, "127.0.0.2")
        with training(folder, cluster.address, **_one_worker_a_node()) as run:
            run.wait_until_shown(4 * WINDOW)
            assert workers_below([_raylet(victim)]), "a worker on each node"
            at = time.monotonic()
            kill_node(victim)
            run.wait_for("1 worker instead of 2", after=at)
            recovered = run.wait_for("^episodes ", after=at)
            cluster.worker_nodes.remove(victim)
            joined = time.monotonic()
            _add_node(cluster, "127.0.0.3")
            grown = run.wait_for("2 workers instead of 1", after=joined)
            run.wait_for("^episodes ", after=grown.at)
            episodes, status = run.finish_soon(), run.end()
    state, curve, broken = state_of(run.run), curve_of(run.run, _store(run), episodes), unreadable(run.run)
    return Outcome(
        "a node killed during training, another one joins",
        held=(
            status == 0
            and (state.episodes, state.steps) == (episodes, episodes // 4)
            and not broken
            and curve.missing == 0
            and curve.difference < _SAME
        ),
        measured={
            "episodes of the last checkpoint": state.episodes,
            "episodes shown again": run.repeated(),
            "s from the kill to the next progress": round(recovered.at - at, 1),
            "s from a node's start to two workers": round(grown.at - joined, 1),
            "windows without a loss": curve.missing,
            "largest difference between losses seen twice": f"{curve.difference:.2%}",
        },
    )


def node_taken_away(folder: Path, notice_s: float = 40.0) -> Outcome:
    """A node is announced to be taken away, as AWS tells a spot machine, and is gone at the time given."""
    with several_nodes(1, cpus=3) as cluster, SpotMetadata().running() as metadata:
        victim = _add_node(cluster, "127.0.0.2")
        # Checkpoints are rare: what there is afterwards is what the notice brought.
        with training(folder, cluster.address, **_one_worker_a_node(), checkpoint_every=1_000_000) as run:
            run.wait_until_shown(4 * WINDOW)
            watch = [sys.executable, _SPOT_NOTICE, "--metadata", metadata.url, "--every", "1"]
            watch += ["--address", cluster.gcs_address, "--node", victim.node_id]
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            watcher = subprocess.Popen(watch, env={**os.environ, "PATH": path})
            at = time.monotonic()
            metadata.announce(notice_s)
            line = run.wait_for(r"will be taken away in \d+ s: a checkpoint is kept at episode", after=at)
            kept_at = int(line.text.split("at episode ")[1].split(",")[0].replace(",", ""))
            accepted = watcher.wait(20) == 0
            published = _wait_for_checkpoint(run, kept_at)
            going_on = run.wait_until_shown(kept_at + 2 * WINDOW).at < at + notice_s
            time.sleep(max(0.0, at + notice_s - time.monotonic()))
            kill_node(victim)
            run.wait_for(f"going on from the checkpoint at episode {kept_at:,}", after=at)
            alone = run.wait_for("1 worker instead of 2", after=at)
            recovered = run.wait_for("^episodes ", after=alone.at)
            repeated = run.repeated()
            episodes, status = run.finish_soon(), run.end()
    state, notices = state_of(run.run), len(run.said("will be taken away"))
    return Outcome(
        "a node announced to be taken away",
        held=(
            status == 0
            and accepted
            and notices == 1
            and going_on
            and (state.episodes, state.steps) == (episodes, episodes // 4)
        ),
        measured={
            "s of notice": notice_s,
            "s from the notice to its line": round(line.at - at, 1),
            "s from the notice to the checkpoint": round(published - at, 1),
            "checkpoints because of it": notices,
            "episodes shown again": repeated,
            "s from the node's end to the next progress": round(recovered.at - at - notice_s, 1),
            "episodes of the last checkpoint": state.episodes,
        },
    )


def checkpoint_damaged(folder: Path) -> Outcome:
    """Each file of the newest checkpoint is cut short, emptied, filled with zeros, or missing."""
    run = write_toy_run(folder / "run")
    older = run / checkpoint.FOLDER / "episodes-000000008"
    newer = older.with_name("episodes-000000016")
    shutil.copytree(older, newer)
    marker = newer / checkpoint.MARKER
    marker.write_text(marker.read_text().replace('"episodes": 8', '"episodes": 16'))
    harms: dict[str, Callable[[Path], Any]] = {
        "truncated": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
        "empty": lambda file: file.write_bytes(b""),
        "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
        "missing": Path.unlink,
    }
    unnoticed, wrong, cases = [], [], 0
    start, said = _resumed(run)
    whole = start == 16 and not any("left out" in text for text in said)
    for file in sorted(newer.iterdir()):
        kept = file.read_bytes()
        for harm, do in harms.items():
            cases += 1
            do(file)
            start, said = _resumed(run)
            if start != 8:
                wrong.append(f"{file.name} {harm}: went on at {start}")
            if not any(newer.name in text and file.name in text for text in said):
                unnoticed.append(f"{file.name} {harm}: {said}")
            file.write_bytes(kept)
    return Outcome(
        "each file of the newest checkpoint damaged in each way",
        held=whole and not unnoticed and not wrong,
        measured={
            "cases": cases,
            "previous one used": cases - len(wrong),
            "refused by name": cases - len(unnoticed),
            **({"wrong": "; ".join(wrong + unnoticed)} if wrong or unnoticed else {}),
        },
    )


def tracking_down(folder: Path, episodes: int = 720) -> Outcome:
    """The MLflow server is killed for the middle third of a run."""
    server = MlflowServer(folder / "mlflow")
    server.start()
    try:
        with training(folder, episodes=episodes, tracking__uri=server.uri) as run:
            run.wait_until_shown(episodes // 3)
            server.kill()
            down = time.monotonic()
            away = run.wait_for("does not answer: training goes on", after=down)
            during = run.wait_until_shown(2 * episodes // 3).at - down
            server.start()
            status = run.end()
        curve, answered = curve_of(run.run, server.uri, episodes), run.said("answers again: (.*)")
        lost = [found[0] for found in run.said(r"(\d+) records of run .* were not written")]
    finally:
        server.kill()
    state = state_of(run.run)
    return Outcome(
        "the MLflow server down for the middle third of a run",
        held=status == 0 and state.episodes == episodes and bool(curve.missing == 0 or lost),
        measured={
            "episodes of the last checkpoint": state.episodes,
            "s without the server": round(during, 1),
            "s until it was said": round(away.at - down, 1),
            "windows without a loss afterwards": curve.missing,
            "said when it came back": answered[0][1] if answered else "nothing",
            "records said to be lost": "; ".join(lost) or "none",
        },
    )


def _kill_one(raylets: list[int], chance: random.Random) -> float:
    """One of the workers, when there is one; the time of it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if found := workers_below(raylets):
            try:
                chance.choice(found).kill()
                return time.monotonic()
            except psutil.NoSuchProcess:
                pass
        time.sleep(0.05)
    raise AssertionError("there is no worker to kill")


def _one_worker_a_node() -> dict[str, Any]:
    """On nodes of three CPUs, for as long as it is left running; Ray gives drawing whole CPUs of what is left."""
    return {"workers": "1-2", "cpus_per_worker": 2, "resize_every": 5, "episodes": 1_000_000}


def _add_node(cluster: Cluster, address: str) -> Any:
    """A node that the driver does not take for its own, as it would one at the head's address."""
    return cluster.add_node(num_cpus=3, object_store_memory=128 << 20, node_ip_address=address)


def _raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def _store(run: Training) -> str:
    return f"sqlite:///{run.run / 'mlflow.db'}"


def _wait_for_checkpoint(run: Training, episodes: int) -> float:
    marker = run.run / checkpoint.FOLDER / f"episodes-{episodes:09d}" / checkpoint.MARKER
    deadline = time.monotonic() + 120
    while not marker.exists():
        assert time.monotonic() < deadline, run.last_words()
        time.sleep(0.05)
    return time.monotonic()


def _resumed(run: Path) -> tuple[int, list[str]]:
    """Where a run would go on, and what is said about it."""
    settings = MetatrainSettings.resolve("debug", {"networks": TINY_NETWORKS})
    content = load_perceptual("hed", "")
    learner = MetaLearner(settings, ["a", "b"], content, None, torch.device("cpu"))
    said = list(checkpoint.latest(Storage(str(run)))[1])
    resumption = Resumption(learner, settings, "dlib", [content.describe()], "none", said.append)
    try:
        return resumption.episodes(Storage(str(run))), said
    except CheckpointError as error:
        return -1, [*said, str(error)]
