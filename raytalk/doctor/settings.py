"""What `python -m raytalk.doctor` takes."""

from pydantic import Field

from raytalk.config import JobSettings
from raytalk.faces.detect import AUTO
from raytalk.learning.naming import BASE
from raytalk.tracking import TrackingSettings


class DoctorSettings(JobSettings):
    """Everything is optional: what is not named is not looked at."""

    address: str = ""
    """the cluster: host:port, `local` for one started here, `none` for this machine without Ray; empty: RAY_ADDRESS,
    else a cluster that runs on this machine, else one started here"""
    storage: str = ""
    """folder or s3:// prefix that jobs are to read and write; tried from every node, and left as it was"""
    checkpoint: str = BASE
    """the model to be used: URI of a run or of a checkpoint, models:/name@alias or base; empty: none"""
    detector: str = AUTO
    """face-alignment, dlib or auto; none: not tried"""
    weights: str = ""
    """folder, or its URI, with published weights; empty: $RAYTALK_WEIGHTS, ~/.cache/raytalk/weights, torch hub's"""
    timeout: float = Field(60.0, gt=0, le=3600)
    """seconds that each check may take"""
    exchange_mib: int = Field(256, ge=1, le=8192)
    """size of the message of the all-reduce between GPUs, in MiB; between machines without GPUs an eighth of it"""
    tracking: TrackingSettings = TrackingSettings()
