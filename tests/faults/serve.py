"""Parts of the service are killed under load: what its clients see, and whether anything accepted is lost."""

import os
import signal
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
from people import woman, write_talk
from real_service import RealService, real_service
from running_service import RunningService, settings
from service_load import Load
from toy_run import write_toy_run

from faults.faulty_s3 import Kind, faulty_s3
from faults.outcome import Outcome

PARTS = ("front", "desk", "faces", "learner", "renderer", "films")
AGAIN_S = 300.0
"""within which everything is as before, on a machine that may be busy"""
DONE_S = 400.0
"""within which what was accepted is done"""
_BEFORE_S = 10.0
"""of load before anything is killed"""
_STEPS = 100


def replica_killed(part: str, folder: Path) -> Outcome:
    """The only replica of a deployment is killed (SIGKILL); one that makes things, in the middle of it."""
    with real_service(folder, arguments(folder)) as real:
        service = running(real, folder)
        load = loaded(service, folder)
        with load.going():
            before = wait_until_busy(part, load)
            dead = {process.pid for process in service.processes(part)}
            killed = service.kill(part)
            there_again = _until_another(service, part, dead, killed)
            well = load.until_well(killed, AGAIN_S)
            ended = time.monotonic()
        load.until_done(DONE_S)
        kept, measured = account(load, records(service.storage), before, killed, ended)
    replaced = {"s until another process takes its place": "never" if there_again is None else round(there_again, 1)}
    held = well and there_again is not None and kept
    return Outcome(f"service: {part} killed under load", held=held, measured=replaced | measured)


def _until_another(service: RunningService, part: str, dead: set[int], killed: float) -> float | None:
    """Seconds from then."""
    while time.monotonic() < killed + AGAIN_S:
        there = {process.pid for process in service.processes(part)} - dead
        if there:
            return time.monotonic() - killed
        time.sleep(0.1)
    return None


def everything_killed(folder: Path) -> Outcome:
    """All processes at once, as when a machine loses its power; then the same command is given again."""
    args, going = arguments(folder), ExitStack()
    with real_service(folder, args) as real:
        service, port = running(real, folder), int(real.url.rpartition(":")[2])
        load = loaded(service, folder)
        going.enter_context(load.going())
        before = wait_until_busy("learner", load)
        killed = kill_all([service.root, *service.root.children(recursive=True)])
    with real_service(folder / "again", args, port=port):
        answers = time.monotonic() - killed
        with going:
            well = load.until_well(killed, AGAIN_S)
            ended = time.monotonic()
        load.until_done(DONE_S)
        kept, measured = account(load, records(service.storage), before, killed, ended)
    measured = {"s until all parts answer": round(answers, 1)} | measured
    return Outcome("service: everything killed at once under load", held=well and kept, measured=measured)


def storage_away(kind: Kind, seconds: float, folder: Path) -> Outcome:
    """The bucket in which the service keeps everything fails for a while."""
    with faulty_s3() as server:
        args = arguments(folder) | {"storage": f"{server.uri}/service"}
        with real_service(folder, args) as real:
            service = running(real, folder)
            load = loaded(service, folder)
            with load.going():
                before = wait_until_busy("learner", load)
                server.break_for(kind, seconds)
                broken = time.monotonic()
                time.sleep(seconds)
                mended = time.monotonic()
                well = load.until_well(mended, AGAIN_S)
                ended = time.monotonic()
            load.until_done(DONE_S)
            stored = [key.split("/")[-2] for key in server.objects() if key.endswith("/record.json")]
            kept, measured = account(load, stored, before, broken, ended, least=seconds)
        refused = sum(count for name, count in server.counts.items() if name != "passed")
    measured = {"s without storage": round(seconds, 1), "requests of storage that failed": refused} | measured
    return Outcome(f"service: object storage {kind} under load", held=well and kept and refused > 0, measured=measured)


def arguments(folder: Path) -> dict[str, Any]:
    """Of a service of tiny networks that keeps everything below the folder and refuses nobody for asking often."""
    folder.mkdir(parents=True, exist_ok=True)
    args = settings(folder / "kept", write_toy_run(folder / "run"), steps=_STEPS)
    args["limits"] |= {"avatars": 10_000, "waiting": 100}
    return args


def running(real: RealService, folder: Path) -> RunningService:
    """How to ask it, and to find its processes."""
    return RunningService(real.url, folder / "kept", psutil.Process(real.process.pid))


def loaded(service: RunningService, folder: Path) -> Load:
    """Not begun. Somebody is there who can be driven."""
    talk = write_talk(folder / "talk.mp4", frames=50).read_bytes()
    known = service.until(service.make(woman(), mode="FF"), lambda told: bool(told["state"] == "ready"), AGAIN_S)
    return Load(service, known, talk)


def wait_until_busy(part: str, load: Load) -> tuple[float, float]:
    """Some load, and then until the part is in the middle of some work; a span in which nothing was wrong."""
    time.sleep(_BEFORE_S / 2)
    start = time.monotonic()
    time.sleep(_BEFORE_S / 2)
    usual, end = (start, time.monotonic()), time.monotonic() + AGAIN_S
    while not _busy(part, load):
        assert time.monotonic() < end, f"{part} has nothing to do: {load.avatars.accepted} {load.films.accepted}"
        time.sleep(0.02)
    return usual


def _busy(part: str, load: Load) -> bool:
    if part == "learner":
        return any(told["state"] == "learning" and told["step"] >= 5 for told in load.avatars.waiting())
    if part == "films":
        return any(told["state"] == "making" and told["progress"] > 0 for told in load.films.waiting())
    return bool(load.avatars.accepted) and bool(load.live.shown)


def kill_all(family: list[psutil.Process]) -> float:
    """What nobody can catch, first of all whoever would start the others anew; when that was (monotonic)."""
    for process in family:
        os.kill(process.pid, signal.SIGKILL)
    at = time.monotonic()
    # Who is dead may wait for long to be buried by whoever started the test.
    while any(map(_alive, family)) and time.monotonic() < at + 20:
        time.sleep(0.05)
    return at


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def records(storage: Path) -> list[str]:
    """Ids of the avatars and films that are stored."""
    return [path.parent.name for path in storage.glob("*/*/record.json")]


def account(
    load: Load, stored: list[str], before: tuple[float, float], killed: float, ended: float, least: float = 1.0
) -> tuple[bool, dict[str, float | str]]:
    """Whether what was accepted is done, once; and what clients saw from the kill until all was well again.

    stored: ids of all avatars and films that there are afterwards. before: when nothing was wrong. least: seconds for
    which requests are counted if all went well.
    """
    lost = load.avatars.lost() + load.films.lost()
    accepted = load.avatars.accepted.keys() | load.films.accepted.keys() | {load.known["id"]}
    twice = [id for id in stored if id not in accepted]
    again = [kind.recovered(killed) for kind in load.kinds if kind.between(killed, ended)]
    recovered = max((seconds for seconds in again if seconds is not None), default=0.0)
    live = load.live.recovered(killed)
    asked, wrong = load.errors(killed, killed + max(recovered, least))
    slowest = max((each.seconds for kind in load.kinds for each in kind.between(killed, ended)), default=0.0)
    usual, amiss = load.errors(*before, by=before[1])
    untold = [text for kind in load.kinds for text in kind.untold]
    share = sum(wrong.values()) / asked if asked else 0.0
    measured: dict[str, float | str] = {
        "s until every request is answered again": round(recovered, 1),
        "requests meanwhile": asked,
        "of them not answered well": f"{share:.0%}",
        **({"namely": _counted(wrong)} if wrong else {}),
        "longest wait for an answer, s": round(slowest, 1),
        "s until the live client sees something new": "never" if live is None else round(live, 1),
        "longest gap live, s": round(load.live.longest_gap(killed - 1, ended), 1),
        "(before the kill, s)": round(load.live.longest_gap(*before), 1),
        "avatars and films accepted": len(accepted),
        "of them lost": len(lost),
        "made twice": len(twice),
        **({"lost": "; ".join(lost[:5])} if lost else {}),
        **({"told, but should not be": untold[0]} if untold else {}),
        **({f"wrong before the kill already, of {usual}": _counted(amiss)} if amiss else {}),
    }
    return not lost and not twice and not untold and live is not None and len(accepted) > 2, measured


def _counted(what: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in what.most_common())
