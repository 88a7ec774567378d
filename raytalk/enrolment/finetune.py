"""The whole job: one person's avatar here, or a table of people over a cluster."""

from pathlib import PurePosixPath

from raytalk.clips.sources import VIDEO_SUFFIXES
from raytalk.command import absolute_uri
from raytalk.driving.output import check_writable
from raytalk.enrolment.maker import About, AvatarMaker
from raytalk.enrolment.one import already_there, make_one
from raytalk.enrolment.settings import FinetuneSettings
from raytalk.faces.photographs import SUFFIXES
from raytalk.learning.pretrained import load_pretrained
from raytalk.storage import path_part


def finetune(settings: FinetuneSettings) -> None:
    """Make the avatar, or all of a table, and say on stdout what is done.

    Raises RaytalkError for what a person can mend; of a table, after everybody else was made.
    """
    if settings.people:
        # Imported late: one person needs no Ray.
        from raytalk.enrolment.crowd import finetune_table

        finetune_table(settings)
        return
    uri = absolute_uri(settings.output)
    if (card := already_there(uri, settings.mode, settings.again)) is not None:
        print(f"{card.name} is there already ({card.mode}): {uri}; again=true makes the avatar anew", flush=True)
        return
    if settings.sheet:
        check_writable(settings.sheet)
    name = settings.name or _name_of(settings.clip or path_part(settings.images))
    maker = AvatarMaker(settings, load_pretrained(settings.checkpoint, settings.tracking_uri))
    make_one(maker, settings, settings.images, settings.clip, settings.mode, About(name, settings.consent), uri, _say)


def _name_of(path: str) -> str:
    """The last part of a path, without a picture's or video's suffix."""
    last = PurePosixPath(path.rstrip("/"))
    return (last.stem if last.suffix.lower() in SUFFIXES | VIDEO_SUFFIXES else last.name) or "somebody"


def _say(line: str) -> None:
    print(line, flush=True)
