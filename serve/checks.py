"""What can be known to be wrong before anything is started, so that it is said once and clearly.

Where the application is built may be another machine than those that it will run on: what cannot be looked at from
there is left to the replicas, whose errors `serve status` shows.
"""

import logging
import os
from pathlib import Path

from raytalk.errors import CheckpointError, SettingsError, StorageError
from raytalk.learning.checkpoint import read_state
from raytalk.learning.naming import found
from raytalk.storage import Storage
from serve.settings import ServiceSettings
from serve.work.provenance import Signer

_log = logging.getLogger("raytalk.serve")

_PATIENCE_S = 10.0
"""for storage that does not answer whoever starts the service"""


def check_places(settings: ServiceSettings) -> None:
    """Look at everything that the settings name. Raises SettingsError saying which setting is wrong, and how."""
    _check_checkpoint(settings)
    _check_storage(settings.storage)
    if settings.certificate:
        Signer.from_files(settings.certificate)


def _check_checkpoint(settings: ServiceSettings) -> None:
    name = settings.checkpoint
    if name.startswith("models:/"):
        # To look at one is to fetch it.
        return
    try:
        with found(name, settings.tracking_uri) as place:
            read_state(place)
    except CheckpointError as error:
        raise SettingsError(f"checkpoint={name} cannot be used: {error}") from error
    except StorageError as error:
        if _is_local(name):
            raise SettingsError(f"checkpoint={name} cannot be used: {error}") from error
        _log.warning("checkpoint=%s cannot be looked at from here, replicas will: %s", name, error)


def _check_storage(uri: str) -> None:
    if not _is_local(uri):
        try:
            Storage(uri, patience=_PATIENCE_S).exists()
        except StorageError as error:
            _log.warning("storage=%s cannot be looked at from here, replicas will: %s", uri, error)
        return
    place = Path(uri)
    try:
        while not place.exists():
            place = place.parent
    except PermissionError as error:
        raise SettingsError(f"storage={uri} cannot be used: {error}") from error
    if not place.is_dir():
        raise SettingsError(f"storage={uri} cannot be used: {place} is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise SettingsError(f"storage={uri} cannot be used: nothing may be written into {place}")


def _is_local(uri: str) -> bool:
    return "://" not in uri
