"""Videos become clips: the job behind `jobs/preprocess.py`.

The listing and the book-keeping are here; `chunks.py` is what runs in the Ray Data actors. Everything written is
whole, and what is written is skipped, so the same command goes on where a killed run stopped.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import Field

from raytalk.clips.actors import ActorPool, Outcome
from raytalk.clips.analyse import Limits
from raytalk.clips.chunks import AnalyseChunk, make_chunks
from raytalk.clips.crash_marks import CrashMarks
from raytalk.clips.folder import check_resolution, check_shares, make_ready, read_whole, report, say_left_out
from raytalk.clips.ledger import Ledger, forget_rejected
from raytalk.clips.progress import Progress
from raytalk.clips.schema import RENDERED, Split
from raytalk.clips.sources import Layout, Source, list_sources
from raytalk.clips.splits import Fold, assign_splits, folds_of_people, read_lists
from raytalk.command import absolute_uri
from raytalk.config import JobSettings
from raytalk.errors import SettingsError
from raytalk.faces.detect import AUTO, resolve_detector
from raytalk.storage import Storage


class PreprocessSettings(JobSettings):
    """What jobs/preprocess.py takes."""

    videos: str
    """folder or s3:// prefix of the videos to read"""
    clips: str = "~/raytalk/clips"
    """folder or s3:// prefix that the clips are written to"""
    layout: Layout = "folder"
    """folder: any videos, one person in each; voxceleb1, voxceleb2: the published trees"""
    lists: str = ""
    """file that says who is dev, train, val or test: vox1_meta.csv, vox2_meta.csv, or lines 'split path'"""
    detector: str = AUTO
    """face-alignment (the paper's), dlib, or auto: face-alignment if its weights can be had"""
    resolution: int = Field(256, ge=32, le=2048)
    """side of the square pictures, in pixels"""
    frames_per_clip: int = Field(32, ge=1, le=4096)
    """frames kept of each video, spread over it"""
    min_frames: int = Field(9, ge=1)
    """a video with fewer good frames is rejected (an episode takes 8 and a target)"""
    min_face: float = Field(64, ge=1)
    """a smaller face is rejected: larger extent of its landmarks, in pixels of the video"""
    max_clips_per_file: int = Field(16, ge=1)
    """clips in one Parquet file: what a killed run may lose per actor"""
    val_share: float = Field(0.1, ge=0, le=0.9)
    """share of the people held out for validation"""
    test_share: float = Field(0.1, ge=0, le=0.9)
    """share of the people held out for tests (VoxCeleb trees bring their own)"""
    seed: int = 0
    """decides who is held out"""
    retry_rejected: bool = False
    """look again at what was rejected before"""
    actors: int = Field(0, ge=0)
    """detector processes; 0: as many as the cluster has room for"""
    cpus_per_actor: float = Field(1, gt=0)
    """CPUs that each detector process takes"""
    gpus_per_actor: float = Field(0, ge=0)
    """GPUs that each detector process takes; a fraction shares one; 0: detect on the CPU"""


@dataclass(frozen=True)
class Plan:
    """What there is to do."""

    detector: str
    sources: list[Source]
    work: list[tuple[Source, Split]]
    before: Ledger


def preprocess(settings: PreprocessSettings) -> Ledger:
    """Run the job and print its progress and summary; returns what the clips folder holds afterwards.

    Raises SettingsError, StorageError, ClipsError or WeightsError for what the user can mend; a video that cannot be
    used is never an error.
    """
    if settings.min_frames > settings.frames_per_clip:
        raise SettingsError(
            f"min_frames={settings.min_frames} is more than frames_per_clip={settings.frames_per_clip}: "
            "no clip could be accepted"
        )
    check_shares(settings.val_share, settings.test_share)
    videos, clips = absolute_uri(settings.videos), absolute_uri(settings.clips)
    storage = Storage(clips)
    plan = make_plan(settings, Storage(videos), storage)
    done = len(plan.sources) - len(plan.work)
    say_left_out(plan.before, storage)
    print(f"{len(plan.sources)} videos in {videos}" + (f", {done} done before" if done else ""), flush=True)
    if plan.work:
        limits = Limits(settings.resolution, settings.frames_per_clip, settings.min_frames, settings.min_face)
        progress = Progress(len(plan.work), "videos")
        for outcomes in _analyse(settings, plan, videos, clips, limits):
            progress.add(outcomes)
        progress.end()
    return report(storage, "add videos of more people and run again")


def make_plan(settings: PreprocessSettings, videos: Storage, clips: Storage) -> Plan:
    """List the videos, leave out what is done, give every person a split. Checks that `clips` can be written to."""
    sources = list_sources(videos, settings.layout)
    before = read_whole(clips)
    detector = _detector(settings.detector, before, clips)
    check_resolution(settings.resolution, before, clips)
    make_ready(clips)
    if settings.retry_rejected:
        forget_rejected(clips, before, {source.clip_id for source in sources})
    known = before.splits_of_people
    done = {clip.clip_id for clip in before.clips} | {row["clip_id"] for row in before.rejected}
    ahead = [source for source in sources if source.clip_id not in done]
    # Who was rejected altogether holds no place among those held out.
    present = {source.person_id for source in ahead} | known.keys()
    people = {person: fold for person, fold in _folds(settings, sources).items() if person in present}
    splits = assign_splits(people, known, settings.val_share, settings.test_share, settings.seed)
    work = [(source, splits[source.person_id]) for source in ahead]
    return Plan(detector, sources, work, before)


def _folds(settings: PreprocessSettings, sources: list[Source]) -> dict[str, Fold | None]:
    folds: dict[str, Fold | None] = {source.person_id: source.fold for source in sources}
    if settings.layout != "folder":
        # The published trees hold out whole people for tests; who lies elsewhere belongs to dev.
        folds = {person: fold or "dev" for person, fold in folds.items()}
    if settings.lists:
        uri = absolute_uri(settings.lists)
        names: dict[str, str] = {}
        for source in sources:
            for name in (source.person_id, source.video_id, source.clip_id, source.path):
                names[name] = source.person_id
        folds |= folds_of_people(names, read_lists(uri), uri)
    return folds


def _detector(asked: str, before: Ledger, clips: Storage) -> str:
    used = sorted(before.detectors)
    if RENDERED in used:
        raise SettingsError(
            f"{clips.uri} holds rendered people, and their landmarks must not be mixed with a detector's: "
            "give another clips folder"
        )
    if asked == AUTO and len(used) == 1:
        return resolve_detector(used[0])
    detector = resolve_detector(asked)
    if used and used != [detector]:
        raise SettingsError(
            f"{clips.uri} holds clips made with detector={used[0]}, and landmarks of two detectors must not be mixed: "
            f"give detector={used[0]} or another clips folder"
        )
    return detector


def _analyse(
    settings: PreprocessSettings, plan: Plan, videos: str, clips: str, limits: Limits
) -> Iterator[list[Outcome]]:
    pool = ActorPool(settings.actors, settings.cpus_per_actor, settings.gpus_per_actor)
    chunks = make_chunks(plan.work, settings.max_clips_per_file, pool.size)
    actors = min(pool.size, len(chunks))
    run = uuid.uuid4().hex[:12]
    print(f"{len(plan.work)} to analyse with {plan.detector} in {actors} processes", flush=True)
    try:
        yield from pool.run(
            AnalyseChunk,
            [chunk.to_json() for chunk in chunks],
            videos=videos,
            clips=clips,
            detector=plan.detector,
            device=pool.device,
            limits=limits,
            run=run,
        )
    finally:
        CrashMarks(run).remove()
