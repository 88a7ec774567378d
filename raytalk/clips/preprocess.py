"""Videos become clips: the job behind `jobs/preprocess.py`.

The listing and the book-keeping are here; `chunks.py` is what runs in the Ray Data actors. Everything written is
whole, and what is written is skipped, so the same command goes on where a killed run stopped.
"""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import Field

from raytalk.clips.analyse import Limits
from raytalk.clips.chunks import AnalyseChunk, Outcome, fatal_error, make_chunks
from raytalk.clips.contact_sheet import FILE as CONTACT_SHEET
from raytalk.clips.contact_sheet import write_contact_sheet
from raytalk.clips.crash_marks import CrashMarks
from raytalk.clips.ledger import REJECTED, Ledger, drop_doubled, forget_rejected, resolution_of
from raytalk.clips.progress import Progress
from raytalk.clips.schema import SPLITS, Split
from raytalk.clips.sources import Layout, Source, list_sources
from raytalk.clips.splits import Fold, assign_splits, folds_of_people, read_lists
from raytalk.clips.summary import summary
from raytalk.command import absolute_uri
from raytalk.config import JobSettings
from raytalk.connect import connect, storage_environment, without_core_noise
from raytalk.errors import RaytalkError, SettingsError
from raytalk.faces.detect import AUTO, resolve_detector
from raytalk.storage import Storage, join

_MOST_BLOCKS = 2000


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
    if settings.val_share + settings.test_share > 0.95:
        raise SettingsError("val_share and test_share leave nobody to train on")
    videos, clips = absolute_uri(settings.videos), absolute_uri(settings.clips)
    storage = Storage(clips)
    plan = make_plan(settings, Storage(videos), storage)
    done = len(plan.sources) - len(plan.work)
    for file, why in plan.before.left_out.items():
        print(f"left out: {join(clips, file)} is not a whole Parquet file of clips ({why}): delete it", flush=True)
    print(f"{len(plan.sources)} videos in {videos}" + (f", {done} done before" if done else ""), flush=True)
    if plan.work:
        limits = Limits(settings.resolution, settings.frames_per_clip, settings.min_frames, settings.min_face)
        progress = Progress(len(plan.work))
        for outcomes in _analyse(settings, plan, videos, clips, limits):
            progress.add(outcomes)
        progress.end()
    after = drop_doubled(storage, Ledger.read(storage))
    print(summary(after, clips), flush=True)
    if write_contact_sheet(storage, after):
        print(f"to look at: {join(clips, CONTACT_SHEET)}", flush=True)
    return after


def make_plan(settings: PreprocessSettings, videos: Storage, clips: Storage) -> Plan:
    """List the videos, leave out what is done, give every person a split. Checks that `clips` can be written to."""
    sources = list_sources(videos, settings.layout)
    before = drop_doubled(clips, Ledger.read(clips))
    detector = _detector(settings.detector, before, clips)
    _check_resolution(settings.resolution, before, clips)
    _check_writable(clips)
    for folder in (*SPLITS, REJECTED):
        clips.below(folder).clear_aside()
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
    if asked == AUTO and len(used) == 1:
        return resolve_detector(used[0])
    detector = resolve_detector(asked)
    if used and used != [detector]:
        raise SettingsError(
            f"{clips.uri} holds clips made with detector={used[0]}, and landmarks of two detectors must not be mixed: "
            f"give detector={used[0]} or another clips folder"
        )
    return detector


def _check_resolution(asked: int, before: Ledger, clips: Storage) -> None:
    found = resolution_of(clips, before)
    if found not in (None, asked):
        raise SettingsError(
            f"{clips.uri} holds clips of {found} pixels: give resolution={found} or another clips folder"
        )


def _check_writable(clips: Storage) -> None:
    probe = f"{REJECTED}/writable"
    clips.write(probe, b"")
    clips.delete(probe)


def _analyse(
    settings: PreprocessSettings, plan: Plan, videos: str, clips: str, limits: Limits
) -> Iterator[list[Outcome]]:
    ours = connect()
    import ray
    import ray.data
    from ray.exceptions import RayError

    actors = settings.actors or _room(settings)
    chunks = make_chunks(plan.work, settings.max_clips_per_file, actors)
    actors = min(actors, len(chunks))
    run = uuid.uuid4().hex[:12]
    print(f"{len(plan.work)} to analyse with {plan.detector} in {actors} processes", flush=True)
    dataset = ray.data.from_items(
        [{"chunk": chunk.to_json()} for chunk in chunks], override_num_blocks=min(len(chunks), _MOST_BLOCKS)
    ).map_batches(
        AnalyseChunk,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=settings.cpus_per_actor,
        num_gpus=settings.gpus_per_actor or None,
        fn_constructor_kwargs={
            "videos": videos,
            "clips": clips,
            "detector": plan.detector,
            "device": "cuda" if settings.gpus_per_actor else "cpu",
            "limits": limits,
            "run": run,
            "environment": storage_environment(),
        },
    )
    try:
        with without_core_noise():
            for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0):
                for text, fatal, kind in zip(batch["outcomes"], batch["fatal"], batch["kind"], strict=True):
                    if fatal:
                        if ours:
                            # Otherwise Ray reports every task that is stopped half-way.
                            ray.shutdown()
                        raise fatal_error(str(kind), str(fatal))
                    yield [Outcome(**outcome) for outcome in json.loads(str(text))]
    except RayError as error:
        raise RaytalkError(
            f"the detector processes failed ({' '.join(str(error).split())[-300:]}); "
            "the same command goes on with what is left"
        ) from error
    finally:
        CrashMarks(run).remove()


def _room(settings: PreprocessSettings) -> int:
    import ray

    has = ray.cluster_resources()
    room = has.get("CPU", 0) // settings.cpus_per_actor
    if settings.gpus_per_actor:
        room = min(room, has.get("GPU", 0) // settings.gpus_per_actor)
    if room < 1:
        raise SettingsError(
            f"cpus_per_actor={settings.cpus_per_actor:g} and gpus_per_actor={settings.gpus_per_actor:g} do not fit: "
            f"the cluster has {has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs "
            "(give actors=N if it will grow)"
        )
    return int(room)
