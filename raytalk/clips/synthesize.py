"""People who do not exist become clips: the job behind `jobs/synthesize.py`.

The book-keeping is here; `reels.py` is what runs in the Ray Data actors, and `heads/` is the renderer. Everything
written is whole, and what is written is skipped, so the same command goes on where a killed run stopped. What a clip
shows follows from its order alone (`heads.studio.Order`): more people or clips later are added to those that are there.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import Field

from raytalk.clips.actors import ActorPool, Outcome
from raytalk.clips.crash_marks import CrashMarks
from raytalk.clips.folder import check_resolution, check_shares, make_ready, read_whole, report, say_left_out
from raytalk.clips.heads.anatomy import load_anatomy
from raytalk.clips.ledger import Ledger
from raytalk.clips.progress import Progress
from raytalk.clips.reels import Shooting, ShootReel, Take, make_reels
from raytalk.clips.schema import RENDERED, Split
from raytalk.clips.splits import assign_splits
from raytalk.command import absolute_uri
from raytalk.config import JobSettings
from raytalk.errors import SettingsError
from raytalk.storage import Storage


class SynthesizeSettings(JobSettings):
    """What jobs/synthesize.py takes."""

    clips: str = "~/raytalk/clips"
    """folder or s3:// prefix that the clips are written to; not one with clips of real people"""
    people: int = Field(24, ge=1, le=1_000_000)
    """people in all; a larger number later adds to those that are there"""
    clips_per_person: int = Field(2, ge=1, le=1000)
    """clips of each person, with other clothes, light and background"""
    frames_per_clip: int = Field(32, ge=2, le=1024)
    """frames of each clip, spread over it (an episode takes 8 and a target)"""
    seconds: float = Field(8.0, gt=0, le=600)
    """length of each clip"""
    resolution: int = Field(128, ge=32, le=2048)
    """side of the square pictures, in pixels"""
    seed: int = Field(0, ge=0)
    """other seeds give other people; decides who is held out as well"""
    max_clips_per_file: int = Field(16, ge=1)
    """clips in one Parquet file: what a killed run may lose per actor"""
    val_share: float = Field(0.1, ge=0, le=0.9)
    """share of the people held out for validation"""
    test_share: float = Field(0.1, ge=0, le=0.9)
    """share of the people held out for tests"""
    actors: int = Field(0, ge=0)
    """rendering processes; 0: as many as the cluster has room for"""
    cpus_per_actor: float = Field(1, gt=0)
    """CPUs that each rendering process takes"""
    gpus_per_actor: float = Field(0, ge=0)
    """GPUs that each rendering process takes; a fraction shares one; 0: render on the CPU"""


@dataclass(frozen=True)
class Plan:
    """What there is to do."""

    work: list[tuple[Take, Split]]
    before: Ledger


def synthesize(settings: SynthesizeSettings) -> Ledger:
    """Run the job and print its progress and summary; returns what the clips folder holds afterwards.

    Raises SettingsError, StorageError or ClipsError for what the user can mend, and RaytalkError naming the clip if
    the renderer fails.
    """
    check_shares(settings.val_share, settings.test_share)
    clips = absolute_uri(settings.clips)
    storage = Storage(clips)
    plan = make_plan(settings, storage)
    asked = settings.people * settings.clips_per_person
    done = asked - len(plan.work)
    say_left_out(plan.before, storage)
    print(
        f"{asked} clips of {settings.people} people, seed {settings.seed}" + (f", {done} done before" if done else ""),
        flush=True,
    )
    if plan.work:
        progress = Progress(len(plan.work), "clips")
        for outcomes in _render(settings, plan, clips):
            progress.add(outcomes)
        progress.end()
    return report(storage, f"give more than people={settings.people}")


def make_plan(settings: SynthesizeSettings, clips: Storage) -> Plan:
    """Leave out what is done, give every person a split. Checks that `clips` can be written to.

    Raises SettingsError if what is there must not be mixed with what is asked for.
    """
    before = read_whole(clips)
    others = sorted(before.detectors - {RENDERED})
    if others:
        raise SettingsError(
            f"{clips.uri} holds clips made with detector={others[0]}, and the landmarks of rendered people must not be "
            "mixed with a detector's: give another clips folder"
        )
    check_resolution(settings.resolution, before, clips)
    make_ready(clips)
    takes = [
        Take(settings.seed, person, clip)
        for person in range(settings.people)
        for clip in range(settings.clips_per_person)
    ]
    splits = assign_splits(
        {take.person_id: None for take in takes},
        before.splits_of_people,
        settings.val_share,
        settings.test_share,
        settings.seed,
    )
    done = {clip.clip_id for clip in before.clips}
    return Plan([(take, splits[take.person_id]) for take in takes if take.clip_id not in done], before)


def _render(settings: SynthesizeSettings, plan: Plan, clips: str) -> Iterator[list[Outcome]]:
    # Before a cluster is started: the package that it takes may be missing.
    print("loading the anatomy (about a minute the first time on a machine)", flush=True)
    anatomy = load_anatomy()
    pool = ActorPool(settings.actors, settings.cpus_per_actor, settings.gpus_per_actor)
    import ray

    reels = make_reels(plan.work, settings.max_clips_per_file, pool.size)
    run = uuid.uuid4().hex[:12]
    actors = min(pool.size, len(reels))
    print(f"{len(plan.work)} to render on {pool.device} in {actors} processes", flush=True)
    try:
        yield from pool.run(
            ShootReel,
            [reel.to_json() for reel in reels],
            clips=clips,
            # Some 70 MB: one copy for all actors of a machine.
            anatomy=ray.put(anatomy),
            device=pool.device,
            shooting=Shooting(settings.frames_per_clip, settings.seconds, settings.resolution),
            run=run,
        )
    finally:
        CrashMarks(run).remove()
