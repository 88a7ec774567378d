"""The whole job: an avatar and what drives it become a video."""

import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from raytalk.avatar import Avatar
from raytalk.clips.schema import RENDERED
from raytalk.command import absolute_uri
from raytalk.driving.choice import describe_portrait, rank, table
from raytalk.driving.drivers import CLIP_MARK, Driver, list_drivers, open_driver
from raytalk.driving.judging import Sheet, beside, driver_crops
from raytalk.driving.motion import Motion, check_detector, motion_of, needs_adaptation
from raytalk.driving.output import check_apart, check_writable, write_frames
from raytalk.driving.perform import perform
from raytalk.driving.settings import PuppeteerSettings
from raytalk.errors import FaceError, SettingsError, VideoError
from raytalk.faces.detect import AUTO, make_detector, resolve_detector
from raytalk.faces.face import LandmarkDetector
from raytalk.faces.track import Track, follow
from raytalk.faces.video import LONGEST_SIDE, Frame
from raytalk.learning.meta import choose_device
from raytalk.learning.pretrained import load_pretrained
from raytalk.storage import file_at

_INTERVAL = 5.0
"""seconds between lines about progress"""


def puppeteer(settings: PuppeteerSettings) -> None:
    """Drive the avatar and say on stdout what is done. Raises RaytalkError for what a person can mend."""
    written = {"output": settings.output, "track": settings.track, "sheet": settings.sheet}
    drivers = list_drivers(absolute_uri(settings.drivers)) if settings.drivers else [settings.driver]
    read = {uri: uri.partition(CLIP_MARK)[0] for uri in (*drivers, settings.portrait)}
    check_apart(written, read)
    check_writable(settings.output)
    for uri in filter(None, (settings.track, settings.sheet)):
        check_writable(uri)
    device = choose_device(settings.device).type
    avatar = _load(settings).to(device)
    say(f"avatar: {avatar.card.name} ({avatar.card.mode}, {avatar.card.resolution} px, {avatar.card.detector})")
    detector = _Detector(settings, avatar, device)
    with tempfile.TemporaryDirectory(prefix="raytalk-driver-") as temporary:
        uri = _choose(settings, drivers, avatar, detector) if settings.drivers else absolute_uri(settings.driver)
        driver = open_driver(uri, Path(temporary), settings.clip, settings.fps)
        # A kept track says only now where its video is.
        check_apart(written, {"the driver's own video": driver.source.partition(CLIP_MARK)[0]})
        track = driver.track or _analyse(driver, detector())
        check_detector(avatar.card, track.detector, settings.accept_detector)
        _say_driver(driver, track)
        if settings.track:
            track.save(settings.track)
            say(f"track: {settings.track}")
        adapted, why = needs_adaptation(settings.adapt, track, avatar)
        say(f"adaptation: {why}")
        motion = motion_of(track, avatar, adapted, settings.smooth, settings.fps)
        _film(settings, avatar, driver, motion)


def say(line: str) -> None:
    """On stdout, at once."""
    print(line, flush=True)


class _Detector:
    """Loads the detector when it is needed first."""

    def __init__(self, settings: PuppeteerSettings, avatar: Avatar, device: str) -> None:
        self._settings, self._avatar, self._device = settings, avatar, device
        self._loaded: LandmarkDetector | None = None

    def __call__(self) -> LandmarkDetector:
        """Raises SettingsError for one that must not drive the avatar, WeightsError for one that cannot be had."""
        check_detector(self._avatar.card, self._name(), self._settings.accept_detector)
        return self.any()

    def any(self) -> LandmarkDetector:
        """The same for looking at faces that drive nothing. Raises WeightsError for one that cannot be had."""
        if self._loaded is None:
            self._loaded = make_detector(self._name(), self._device)
        return self._loaded

    def _name(self) -> str:
        own = self._avatar.card.detector
        return resolve_detector(self._settings.detector or (own if own != RENDERED else AUTO))


def _load(settings: PuppeteerSettings) -> Avatar:
    pretrained = load_pretrained(settings.checkpoint, settings.tracking_uri) if settings.checkpoint else None
    return Avatar.load(settings.avatar, settings.tracking_uri, pretrained)


def _choose(settings: PuppeteerSettings, uris: Sequence[str], avatar: Avatar, detector: "_Detector") -> str:
    """The driver that keeps the person's identity best."""
    if settings.portrait:
        person = describe_portrait(settings.portrait, detector.any())
    elif avatar.identity is not None:
        person = avatar.identity
    else:
        raise SettingsError("the avatar keeps no descriptor of the person: give portrait=IMAGE to compare drivers with")
    say(f"choosing among {len(uris)} drivers, {settings.candidate_frames} frames of each, without adaptation")
    ranked = rank(
        uris, avatar, person, detector.any(), settings.candidate_frames, settings.batch_size, settings.accept_detector
    )
    say(table(ranked))
    if ranked[0].reason:
        raise VideoError(f"none of the {len(ranked)} drivers in {settings.drivers} can drive: see the reasons above")
    if not ranked[0].found:
        raise FaceError(
            "no face",
            f"{detector.any().name} finds no face in what the avatar shows with any of the drivers, so that nothing "
            "tells them apart: name one with driver=",
        )
    return ranked[0].uri


def _analyse(driver: Driver, detector: LandmarkDetector) -> Track:
    if driver.frames is None:
        raise VideoError(f"{driver.source} has no frames: {driver.unseen}")
    clock = _Clock(f"finding the face ({detector.name})", driver.count)
    frames = driver.frames.read(LONGEST_SIDE)
    track = follow(frames, detector, driver.source, driver.fps, driver.size, clock.at)
    clock.end(len(track))
    return track


def _say_driver(driver: Driver, track: Track) -> None:
    held = f", {track.missing} of them without the face and filled in" if track.missing else ""
    sound = "with sound" if driver.sound else "without sound"
    say(
        f"driver: {driver.kind} {track.source}, {track.width}x{track.height}, {len(track)} frames{held}, "
        f"{track.fps:.4g} frames/s, {sound}"
    )
    if driver.unseen:
        say(f"  its frames are gone, and so is its sound: {driver.unseen}")


def _film(settings: PuppeteerSettings, avatar: Avatar, driver: Driver, motion: Motion) -> None:
    size = avatar.card.resolution
    shows_driver = driver.frames is not None
    judged = settings.side_by_side or bool(settings.sheet)
    clock = _Clock("rendering", len(motion))
    rendered: Iterable[Frame] = _counted(perform(avatar, motion, settings.batch_size), clock)
    sheet = Sheet(motion, shows_driver)
    if judged:
        crops = driver_crops(driver.frames, motion, size) if driver.frames is not None else None
        rendered = beside(motion, rendered, crops)
    if settings.sheet:
        rendered = sheet.passing(rendered)
    if judged and not settings.side_by_side:
        rendered = (row[:, -size:] for row in rendered)
    place = write_frames(settings.output, rendered, motion.fps, driver.sound)
    clock.end(len(motion))
    if settings.sheet:
        folder, name = file_at(settings.sheet)
        folder.write(name, sheet.png())
        say(f"to look at: {settings.sheet}")
    say(f"written: {place}")


def _counted(frames: Iterator[Frame], clock: "_Clock") -> Iterator[Frame]:
    for number, frame in enumerate(frames, start=1):
        yield frame
        clock.at(number)


class _Clock:
    """Says now and then how far something is."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._start = self._said = time.monotonic()

    def at(self, done: int) -> None:
        """So many frames are done."""
        now = time.monotonic()
        if now - self._said >= _INTERVAL:
            self._said = now
            of = f"/{self._total}" if self._total > done else ""
            say(f"{self._what}: {done}{of} frames, {done / (now - self._start):.1f} frames/s")

    def end(self, done: int) -> None:
        """All are."""
        seconds = max(time.monotonic() - self._start, 1e-6)
        say(f"{self._what}: {done} frames in {seconds:.1f} s, {done / seconds:.1f} frames/s")
