"""A new person: the material is looked at, and the feed-forward avatar made, which can be driven at once."""

import torch

from raytalk.avatar import Avatar, AvatarCard
from raytalk.enrolment.maker import About, AvatarMaker
from raytalk.enrolment.material import Material
from raytalk.evaluation.metrics.pictures import ssim
from serve.records.record import Change, Job, JobKind, Version
from serve.records.store import Store
from serve.settings import ServiceSettings
from serve.work.clearing import clear_avatar, clear_other_attempts, folder_of
from serve.work.material import look
from serve.work.pictures import Pictures, poses, preview
from serve.work.provenance import Signer
from serve.work.report import Report

SHARE = 0.1
"""of the progress of an avatar that is to be fine-tuned afterwards"""
_LOOKING = 0.8
"""share of an introduction"""


class Introducer:
    """Introduces people, one after the other. Needs no GPU."""

    kind: JobKind = "introduce"

    def __init__(self, store: Store, settings: ServiceSettings, maker: AvatarMaker, signer: Signer) -> None:
        """maker: for this object alone."""
        self._store, self._settings, self._maker, self._signer = store, settings, maker, signer
        self._nobody = _nobody(maker)

    def do(self, job: Job, report: Report) -> Change:
        """See Handler. Raises FaceError, VideoError or a Problem for material that cannot be used."""
        avatar, store = job.avatar, self._store
        whole = SHARE if avatar.mode == "FT" else 1.0
        looked = look(
            store, avatar, self._maker, self._settings.limits, lambda share: report(progress=whole * _LOOKING * share)
        )
        for name, jpeg in looked.crops.items():
            report.confirm()
            store.put_crop(avatar.id, name, jpeg)
        report(photos=looked.photos)
        material = looked.usable()
        first = self._maker.feed_forward(material, About(avatar.name, avatar.consent, avatar.id))
        first.to(self._maker.device.type)
        frames = first.render(material.landmarks)
        report.confirm()
        first.save(store.avatar_uri(avatar.id, folder_of(job, "ff")))
        report.confirm()
        store.put_preview(avatar.id, preview(frames[poses(len(frames))], self._signer, self._settings.render))
        return Change(
            progress=whole,
            photos=looked.photos,
            preview_ready=True,
            new_preview=True,
            version=Version(mode="FF", folder=folder_of(job, "ff")),
            resolution=first.card.resolution,
            detector=first.card.detector,
            quality={"photos_used": len(material), "ssim_ff": likeness(frames, material)},
        )

    def kept(self, job: Job) -> None:
        """What attempts before this one may have left goes."""
        clear_other_attempts(self._store, job, "ff")

    def lost(self, job: Job) -> None:
        """See Handler."""
        clear_avatar(self._store, job.id, folder_of(job, "ff"))


def likeness(frames: Pictures, material: Material) -> float:
    """Mean SSIM of what is rendered to the learning images themselves, which says little about other poses."""
    return round(float(ssim(frames, material.frames).mean()), 4)


def _nobody(maker: AvatarMaker) -> Avatar:
    """Keeps what renders the model's avatars in memory from one person to the next, and no person."""
    pretrained = maker.pretrained
    networks = pretrained.networks
    card = AvatarCard("nobody", pretrained.state.detector, networks.model_dump(mode="json"), pretrained.uri, "FF")
    nobody = Avatar.feed_forward(card, pretrained, torch.zeros(networks.embedding_size))
    return nobody.to(maker.device.type)
