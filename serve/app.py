"""The application: `serve run serve.app:app key=value ...`, or `import_path: serve.app:app` with `args:` in a YAML."""

from typing import Any

import ray
import torch
from ray.serve import Application

from raytalk.command import absolute_uri
from raytalk.learning.naming import absolute_checkpoint
from serve.checks import check_places
from serve.deployments.desk import DeskDeployment
from serve.deployments.faces import FacesDeployment
from serve.deployments.films import FilmsDeployment
from serve.deployments.front import FrontDeployment
from serve.deployments.learner import LearnerDeployment
from serve.deployments.placing import placed
from serve.deployments.renderer import RendererDeployment
from serve.keys import Keyring
from serve.ports import check_port
from serve.settings import PlaceSettings, ServiceSettings

_SHARES = (0.1, 0.4, 0.4, 0.1)
"""of one GPU, for faces, renderer, learner and films, so that everything fits on one; `gpus: 1` gives a whole one"""
_ANSWER = (FacesDeployment, RendererDeployment)
"""whom people wait for: an update starts the next before the last ends, unless both would need a part of a GPU"""


def app(args: dict[str, Any]) -> Application:
    """Everything, wired together. args: `serve.settings.ServiceSettings`, nested or with dotted keys.

    Keys are read here, where the application is built, and places looked at. Raises SettingsError for what cannot be.
    """
    settings = ServiceSettings.resolve(None, args)
    # Replicas may have another working folder than whoever builds this.
    places = {"storage": absolute_uri(settings.storage), "checkpoint": absolute_checkpoint(settings.checkpoint)}
    if settings.certificate:
        places["certificate"] = ",".join(absolute_uri(file.strip()) for file in settings.certificate.split(","))
    settings = settings.model_copy(update=places)
    keyring = Keyring.of(settings.keys)
    check_places(settings)
    check_port()
    shares = _SHARES if _on_gpus(settings) else (0.0,) * len(_SHARES)
    desk = placed(DeskDeployment, PlaceSettings(cpus=settings.desk_cpus)).bind(settings)
    parts: list[tuple[Any, PlaceSettings]] = [
        (FacesDeployment, settings.faces),
        (RendererDeployment, settings.renderer),
        (LearnerDeployment, settings.learner),
        (FilmsDeployment, settings.films),
    ]
    workers = [
        placed(part, place, share, surges=part in _ANSWER and max(share, place.gpus) <= 0).bind(settings, desk)
        for (part, place), share in zip(parts, shares, strict=True)
    ]
    front = placed(FrontDeployment, settings.front, surges=True)
    application: Application = front.bind(settings, keyring, desk, *workers)
    return application


def _on_gpus(settings: ServiceSettings) -> bool:
    if settings.device != "auto":
        return settings.device == "cuda"
    if ray.is_initialized():
        return bool(ray.cluster_resources().get("GPU", 0) > 0)
    # `serve run serve.app:app` builds first and starts Ray then, on this machine unless it is told another.
    return torch.cuda.is_available()
