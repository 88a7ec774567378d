"""What can go wrong that a person can mend. Each message says what, where and what to do.

`exit_status` is what a job ends with: 2 for the user's mistake, 1 for anything else.
"""


class RaytalkError(Exception):
    """Base of every error that raytalk raises on purpose."""

    exit_status = 1


class SettingsError(RaytalkError):
    """A setting is unknown, of the wrong type or out of range."""

    exit_status = 2


class StorageError(RaytalkError):
    """A folder or bucket is missing, refuses access or is full."""

    exit_status = 2


class ClipsError(RaytalkError):
    """A place holds no usable clips, or clips that do not fit the run."""

    exit_status = 2


class VideoError(RaytalkError):
    """A video or picture cannot be read or written."""

    exit_status = 2


class FaceError(RaytalkError):
    """A video or picture was read, but its faces cannot be used. `reason` is a short word for tables."""

    exit_status = 2

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return self.detail


class WeightsError(RaytalkError):
    """Pretrained weights are missing or of another shape."""

    exit_status = 2


class CheckpointError(RaytalkError):
    """A checkpoint is missing, incomplete or of another shape."""

    exit_status = 2


class AvatarError(RaytalkError):
    """An avatar is missing, incomplete or of another format."""

    exit_status = 2


class StudyError(RaytalkError):
    """A user study cannot be made of these pictures, or its key or answers cannot be used."""

    exit_status = 2


class TrackingError(RaytalkError):
    """The tracking store cannot be used as asked."""

    exit_status = 2


class TrainingCollapsed(RaytalkError):
    """Training stopped itself: going on would have wasted time or destroyed the model."""


class TrainingStopped(RaytalkError):
    """The sweep that a run is part of ended it before its time: others are better."""
