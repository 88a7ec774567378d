"""One person, from their material to the avatar that is kept."""

from collections.abc import Callable

import cv2

from raytalk.avatar import Avatar, AvatarCard
from raytalk.avatar.card import MARKER, read_card
from raytalk.enrolment.maker import About, AvatarMaker
from raytalk.enrolment.material import Material, gather
from raytalk.enrolment.settings import FinetuneSettings, Mode
from raytalk.enrolment.sheet import judging_sheet
from raytalk.errors import AvatarError
from raytalk.storage import Storage, file_at

Say = Callable[[str], None]


def make_one(
    maker: AvatarMaker,
    settings: FinetuneSettings,
    images: str,
    clip: str,
    mode: Mode,
    about: About,
    uri: str,
    say: Say,
) -> Avatar:
    """One person from their material to the avatar that is kept at `uri`.

    The FF avatar is kept there first, where there was none, and replaced when the FT avatar is ready; what is there is
    always whole.
    """
    resolution = maker.pretrained.networks.resolution
    material = gather(images, clip, settings.shots, resolution, settings.min_face, maker.detector)
    for name, reason in material.refused.items():
        say(f"left out: {name}: {reason}")
    say(f"{about.name}: {len(material)} images of {material.source}, landmarks by {material.detector}")
    first = maker.feed_forward(material, about)
    if mode == "FF" or not Storage(uri).exists(MARKER):
        first.save(uri)
        say(f"{about.name}: the feed-forward avatar is ready: {uri}")
    avatar = first
    if mode == "FT":
        avatar = maker.fine_tuned(
            material,
            about,
            lambda step, total, losses: say(
                f"{about.name}: step {step} of {total}, content {losses['loss/content']:.3g}, "
                f"D real {losses['score/real']:.2f} generated {losses['score/fake']:.2f}"
            ),
        )
        avatar.save(uri)
        learned = avatar.card.learned
        say(f"{about.name}: learned in {learned['steps']} steps, {learned['seconds']} s: {uri}")
    if settings.sheet:
        _write_sheet(settings.sheet, material, first, avatar)
        say(f"to look at: {settings.sheet}")
    return avatar


def already_there(uri: str, mode: Mode, again: bool) -> AvatarCard | None:
    """The card of the avatar at `uri` if it is as wanted: a fine-tuned one is a feed-forward one and more."""
    place = Storage(uri)
    try:
        card = None if again else read_card(place)
    except AvatarError:
        return None  # there is none; or it is damaged, or of another version, and made anew
    return card if card is not None and mode in ("FF", card.mode) else None


def _write_sheet(uri: str, material: Material, first: Avatar, avatar: Avatar) -> None:
    picture = judging_sheet(material, first, avatar)
    place, name = file_at(uri)
    place.write(name, cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
