"""Clips that are damaged: a file cut short, a picture that is none, landmarks that are not numbers."""

import dataclasses
import re
from pathlib import Path

import numpy as np
from toy import toy_clip, write_toy_clips
from toy_run import write_toy_run

from faults.jobs import Work, clips_in
from faults.outcome import Outcome
from faults.training_run import state_of, training
from raytalk.clips.schema import Split, clips_to_table, write_table
from raytalk.storage import Storage

EPISODES = 32


def damage(folder: Path, split: Split, frames: int, size: int) -> dict[str, str]:
    """Add one clip or file with each fault to the clips of a folder; which words must name each of them."""
    storage = Storage(str(folder))
    cut, spoiled, lost = (toy_clip(number, frames, size, split) for number in (71, 72, 73))
    write_table(storage, f"{split}/part-cut.parquet", clips_to_table([cut]))
    path = folder / split / "part-cut.parquet"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    spoiled.frames[3] = spoiled.frames[3][: len(spoiled.frames[3]) // 2]
    write_table(storage, f"{split}/part-picture.parquet", clips_to_table([spoiled]))
    landmarks = lost.landmarks.copy()
    landmarks[2:5] = np.nan
    write_table(storage, f"{split}/part-nan.parquet", clips_to_table([dataclasses.replace(lost, landmarks=landmarks)]))
    return {"file cut short": "part-cut", "picture": "person72", "landmarks": "person73"}


def damaged_in_training(folder: Path) -> Outcome:
    """The run has its full count; each fault is named, with how many frames it cost."""
    write_toy_clips(str(folder / "clips"), people=8, held_out=3, frames=8, size=48)
    damage(folder / "clips", "train", 8, 48)
    with training(folder, episodes=EPISODES, tracking__uri="none") as run:
        status = run.end()
        said = [line.text for line in run.lines]
    named = {
        "file cut short": any("left out" in text and "part-cut" in text for text in said),
        "picture": any(re.search(r"person72.*1 broken frames left out", text) for text in said),
        "landmarks": any(re.search(r"person73.*3 broken frames left out", text) for text in said),
    }
    episodes = state_of(run.run).episodes if status == 0 else 0
    return Outcome(
        "damaged clips in training",
        held=status == 0 and all(named.values()) and episodes == EPISODES,
        measured={
            "exit status": status,
            "episodes shown": episodes,
            "of": EPISODES,
            "faults named": f"{sum(named.values())} of {len(named)}",
            **({} if status == 0 else {"last words": said[-1] if said else ""}),
        },
    )


def damaged_in_evaluation(folder: Path) -> Outcome:
    """Who can be evaluated is; a clip with too few good frames is counted among those that failed, by name."""
    clips = folder / "clips"
    write_toy_clips(str(clips), people=2, held_out=2, frames=12, size=32, per_file=2)
    damage(clips, "val", 9, 32)
    run = write_toy_run(folder / "run")
    words = [f"checkpoint={run}", f"clips={clips}", f"output={folder / 'out'}", "clips_split=val", "people=9"]
    words += ["shots=1,4", "hold_out=4", "pictures=0", "methods=nearest", "splits=block", "tracking.uri=none"]
    words += [f"metrics.{name}=none" for name in ("lpips", "frechet", "faces", "detector")]
    log = folder / "job.log"
    status = Work("evaluation", "jobs/evaluate.py", words, list, set(), {}).start(log, "local").wait(timeout=600)
    rows = {path.stem.rpartition("-")[0] for path in (folder / "out" / "people").rglob("*.parquet")}
    failed = (folder / "out" / "failed.csv").read_text() if status == 0 else ""
    named = {
        "file cut short": "part-cut" in log.read_text(),
        # 8 of 9 frames are left, and 8 are enough: the person stays.
        "picture": "person72" in rows,
        "landmarks": "person73" in failed and "6 frames can be used, 8 are needed" in failed,
    }
    whole = {"person2", "person3"} <= rows
    return Outcome(
        "damaged clips in evaluation",
        held=status == 0 and whole and all(named.values()),
        measured={
            "exit status": status,
            "people evaluated": len(rows),
            "people who failed, by name": max(0, len(failed.splitlines()) - 1),
            "faults named or made up for": f"{sum(named.values())} of {len(named)}",
            **({} if status == 0 else {"last words": log.read_text()[-300:]}),
        },
    )


def damaged_in_synthesis(folder: Path) -> Outcome:
    """A file of clips that is cut short is named, and what was in it is made again."""
    words = [f"clips={folder / 'clips'}", "people=3", "frames_per_clip=3", "resolution=64", "max_clips_per_file=2"]
    expected = {f"rendered-0-{person:06d}/{clip:03d}/0000" for person in range(3) for clip in range(2)}
    work = Work("synthesis", "tests/toy_studio.py", words, lambda: clips_in(folder / "clips"), expected, {})
    log = folder / "job.log"
    first = work.start(log, "local").wait(timeout=600)
    files = sorted((folder / "clips").glob("*/part-*.parquet"))
    files[0].write_bytes(files[0].read_bytes()[:500])
    lost = len(expected) - len(clips_in(folder / "clips"))
    again = work.start(log, "local").wait(timeout=600)
    named = f"left out: {files[0]} is not a whole Parquet file" in log.read_text()
    wrong, missing = work.tally()
    return Outcome(
        "a file of clips cut short, and the job given again",
        held=(first, again) == (0, 0) and lost > 0 and named and not wrong + missing,
        measured={"clips in it": lost, "clips doubled": wrong, "clips missing": missing, "named": str(named)},
    )
