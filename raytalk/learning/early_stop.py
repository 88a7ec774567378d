"""When few-shot learning stops to help: a look at images that it does not learn from."""

from raytalk.learning.fewshot import FewShotLearner
from raytalk.learning.learning_images import LearningImages
from raytalk.learning.settings import FewShotSettings


class EarlyStop:
    """Keeps the state of a learner that came nearest to the images kept aside."""

    def __init__(self, learner: FewShotLearner, images: LearningImages) -> None:
        self._learner, self._images, self._settings = learner, images, learner.settings
        self.best, self.best_step = learner.miss(images), 0
        self._state = learner.state()

    def looked(self, step: int, total: int) -> bool:
        """Look, if it is time to, after this step (from 1) of `total`; True if learning had better stop."""
        if step % self._settings.check_every and step != total:
            return False
        miss = self._learner.miss(self._images)
        if miss < self.best:
            self.best, self.best_step, self._state = miss, step, self._learner.state()
        return step - self.best_step >= self._settings.check_every * self._settings.patience

    def restore(self) -> None:
        """Go back to the best state."""
        self._learner.restore(self._state)


def kept_aside(images: int, settings: FewShotSettings) -> list[int]:
    """Which of so many images to keep aside, spread over them: none unless two are left to learn from."""
    count = settings.hold_out
    if not count or images - count < 2:
        return []
    return [int((place + 0.5) * images / count) for place in range(count)]
