"""Films: somebody's motion, from a video or a kept track, makes an avatar move."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from raytalk.avatar import Avatar
from raytalk.avatar.card import read_card
from raytalk.driving.frames import VideoFrames
from raytalk.driving.motion import motion_of, needs_adaptation
from raytalk.driving.perform import perform
from raytalk.errors import CheckpointError, VideoError
from raytalk.faces.detect import make_detector
from raytalk.faces.face import LandmarkDetector
from raytalk.faces.track import SUFFIX as TRACK_SUFFIX
from raytalk.faces.track import Track, follow
from raytalk.faces.video import LONGEST_SIDE, Frame, probe, write_video
from raytalk.learning.meta import choose_device
from raytalk.learning.pretrained import Pretrained, load_pretrained
from raytalk.storage import Storage
from serve.errors import Unavailable, Unprocessable
from serve.footage import check_track, check_video
from serve.records.record import Avatar as AvatarRecord
from serve.records.record import Change, Film, Job, JobKind
from serve.records.store import Store
from serve.scratch import scratch
from serve.settings import ServiceSettings
from serve.work.clearing import clear_film
from serve.work.mark import marked
from serve.work.material import called
from serve.work.provenance import Signer
from serve.work.report import Report

_log = logging.getLogger("raytalk.serve.work")

_DRIVER = "the driving video"
_FOUND, _RENDERED = 0.5, 0.95
"""progress when the face is found in all frames, and when all frames are rendered"""
_BATCH = 8
"""frames rendered together"""
_RATES = 1.0, 240.0
"""frames per second of a kept track"""
_FASTEST = 60.0
"""frames per second of a film"""


class Films:
    """Makes films, one after the other."""

    kind: JobKind = "film"

    def __init__(self, store: Store, settings: ServiceSettings, signer: Signer) -> None:
        self._store, self._settings, self._signer = store, settings, signer
        self._device = choose_device(settings.device).type
        self._detectors: dict[str, LandmarkDetector] = {}
        self._pretrained: Pretrained | None = None

    def do(self, job: Job, report: Report) -> Change:
        """See Handler. Raises FaceError, VideoError or Unprocessable for a driver that cannot drive."""
        film = job.film
        assert film is not None
        report(progress=0.0)
        with scratch("film") as folder:
            path = self._store.fetch_film_driver(film.id, film.driver, folder)
            avatar = self._load(job.avatar)
            track, sound = self._driver(path, film, avatar, report)
            adapted, _ = needs_adaptation(film.adapt, track, avatar)
            motion = motion_of(track, avatar, adapted, fps=min(track.fps, _FASTEST))
            report(frames=len(motion), fps=motion.fps, progress=_FOUND)
            frames = self._marked(perform(avatar, motion, _BATCH), len(motion), report)
            made = folder / "film.mp4"
            _write(made, frames, motion.fps, sound)
            self._signer.sign_file(made)
            report.confirm()
            self._store.put_film(film.id, made)
        return Change(progress=1.0, frames=len(motion), fps=motion.fps)

    def kept(self, job: Job) -> None:
        """Nothing is left to do."""

    def lost(self, job: Job) -> None:
        """See Handler."""
        clear_film(self._store, job.id)

    def _load(self, record: AvatarRecord) -> Avatar:
        if record.version is None:
            raise Unavailable("The avatar is not there yet.")
        # With the patience of a job, which is more than that of a request.
        place = Storage(self._store.avatar_uri(record.id, record.version.folder))
        pretrained = self._model(read_card(place).checkpoint) if record.version.mode == "FF" else None
        return Avatar.load(place, self._settings.tracking_uri, pretrained).to(self._device)

    def _model(self, checkpoint: str) -> Pretrained:
        """The model that a feed-forward avatar was made from: the last one is kept."""
        if self._pretrained is None or self._pretrained.uri != checkpoint:
            try:
                self._pretrained = load_pretrained(checkpoint, self._settings.tracking_uri)
            except CheckpointError as error:
                # It may have moved; whether the service's own is the same is checked when the avatar is loaded.
                _log.info("%s: %s", checkpoint, error)
                self._pretrained = load_pretrained(self._settings.checkpoint, self._settings.tracking_uri)
        return self._pretrained

    def _driver(self, path: Path, film: Film, avatar: Avatar, report: Report) -> tuple[Track, Path | None]:
        """Whose motion it is, and the file with its sound, if it has any."""
        limits = self._settings.limits
        if path.suffix == TRACK_SUFFIX:
            check_track(path, "the track", limits.video_seconds)
            return _checked(Track.load(str(path)), avatar), None
        check_video(path, _DRIVER, limits.video_pixels, limits.video_seconds)
        with called(path, _DRIVER):
            info = probe(path)
            expected = max(1.0, info.duration * info.fps)
            track = follow(
                VideoFrames(path).read(LONGEST_SIDE),
                self._detector(avatar.card.detector),
                _DRIVER,
                info.fps,
                (info.width, info.height),
                lambda done: report(progress=_FOUND * min(1.0, done / expected)),
            )
        return track, path if info.has_audio else None

    def _detector(self, name: str) -> LandmarkDetector:
        if name not in self._detectors:
            self._detectors[name] = make_detector(name, self._device)
        return self._detectors[name]

    def _marked(self, frames: Iterator[Frame], count: int, report: Report) -> Iterator[Frame]:
        for number, frame in enumerate(frames, start=1):
            report(progress=_FOUND + (_RENDERED - _FOUND) * number / count)
            yield marked(frame) if self._settings.render.visible_mark else frame


def _checked(track: Track, avatar: Avatar) -> Track:
    """What somebody sends may say anything: nothing of it names a file, and its rate makes no endless film."""
    if not _RATES[0] <= track.fps <= _RATES[1]:
        raise Unprocessable(f"The track has {track.fps:g} frames a second; 1 to 240 are taken.", "not-a-track")
    if track.detector != avatar.card.detector:
        raise Unprocessable(
            f"The track has landmarks by {track.detector[:40]!r}, the avatar is driven by those of "
            f"{avatar.card.detector}, which lie differently: make the track with detector={avatar.card.detector}.",
            "other-detector",
        )
    return track


def _write(path: Path, frames: Iterable[Frame], fps: float, sound: Path | None) -> None:
    try:
        write_video(path, frames, fps, audio_from=sound)
    except VideoError as error:
        # That a film cannot be written is no fault of who drives.
        raise OSError(str(error)) from error
