"""Fine-tuning: a person's own generator, learned while the feed-forward avatar can be driven already."""

import numpy as np
import torch

from raytalk.enrolment.maker import About, AvatarMaker
from raytalk.enrolment.material import Material
from raytalk.faces.draw import draw_batch
from raytalk.learning.fewshot import FewShotLearner
from raytalk.learning.validation import to_pictures
from serve.records.record import Change, Job, JobKind, Version
from serve.records.store import Store
from serve.settings import ServiceSettings
from serve.work.clearing import clear_avatar, clear_other_attempts, folder_of
from serve.work.introduce import SHARE, likeness
from serve.work.material import look
from serve.work.pictures import Pictures, poses, preview
from serve.work.provenance import Signer
from serve.work.report import Report

_LEARNED = 0.97
"""progress when all steps are made; what is left is to keep the avatar"""
_BATCH = 8
"""frames rendered together"""


class Learner:
    """Learns people, one after the other. Remembers none of them."""

    kind: JobKind = "learn"

    def __init__(self, store: Store, settings: ServiceSettings, maker: AvatarMaker, signer: Signer) -> None:
        """maker: for this object alone."""
        self._store, self._settings, self._maker, self._signer = store, settings, maker, signer

    def prepare(self) -> None:
        """Load what learning needs, so that what is missing is said before somebody waits. Raises WeightsError ..."""
        self._maker.learner()
        self._maker.detector()

    def do(self, job: Job, report: Report) -> Change:
        """See Handler."""
        avatar, store, maker = job.avatar, self._store, self._maker
        report(progress=SHARE, step=0)
        looked = look(store, avatar, maker, self._settings.limits, lambda _: report.check())
        material = looked.usable()
        about = About(avatar.name, avatar.consent, avatar.id)
        lesson = _Lesson(self._settings.work.preview_steps, self, job, report, material)
        try:
            learned = maker.fine_tuned(material, about, each_step=lesson.after)
            # By the learner, which is warm: an avatar would first have to be made ready for this device.
            frames = lesson.rendered(maker.learner())
        finally:
            maker.learner().forget()
        report.confirm()
        learned.save(store.avatar_uri(avatar.id, folder_of(job, "ft")))
        self.show(job, report, frames[poses(len(frames))])
        return Change(
            progress=1.0,
            step=int(learned.card.learned["steps"]),
            version=Version(mode="FT", folder=folder_of(job, "ft")),
            new_preview=True,
            quality=avatar.quality | {"photos_used": len(material), "ssim_ft": likeness(frames, material)},
        )

    def show(self, job: Job, report: Report, frames: Pictures) -> None:
        """Replace the preview by these poses [n, S, S, 3] uint8 RGB. Raises Stopped."""
        picture = preview(frames, self._signer, self._settings.render)
        report.confirm()
        self._store.put_preview(job.id, picture)

    def kept(self, job: Job) -> None:
        """What attempts before this one may have left goes."""
        clear_other_attempts(self._store, job, "ft")

    def lost(self, job: Job) -> None:
        """See Handler."""
        clear_avatar(self._store, job.id, folder_of(job, "ft"))


class _Lesson:
    """Tells of the steps, and shows what comes of them."""

    def __init__(self, every: int, learner: Learner, job: Job, report: Report, material: Material) -> None:
        self._every, self._learner, self._job, self._report = every, learner, job, report
        self._drawings = torch.from_numpy(draw_batch(material.landmarks, material.frames.shape[1]))

    def after(self, step: int, total: int, state: FewShotLearner) -> None:
        self._report(progress=SHARE + (_LEARNED - SHARE) * step / total, step=step, steps=total)
        if step % self._every == 0 and step != total:
            shown = to_pictures(state.render(self._drawings[poses(len(self._drawings))]))
            self._learner.show(self._job, self._report, shown)
            self._report(new_preview=True)

    def rendered(self, state: FewShotLearner) -> Pictures:
        """All learning images [T, S, S, 3], as they are rendered now."""
        return np.concatenate([to_pictures(state.render(part)) for part in self._drawings.split(_BATCH)])
