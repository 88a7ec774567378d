"""Checkpoints in MLflow's registry: put there under a name and an alias, fetched from there."""

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from raytalk.errors import TrackingError
from raytalk.tracking.run import RunHandle, TrackingSettings, store_uri
from raytalk.tracking.store import CHANGE, SHORT_TIMES, client_of, code, explained, shown

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PATIENT_TIMES = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "300", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"}


class _Patience:
    """Checkpoints are large: wait longer than a tracker does, unless the user has set the times.

    MLflow takes its times from the environment alone, so they hold for the whole process while any transfer lasts.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._transfers = 0
        self._short: dict[str, str] = {}

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._transfers == 0:
                self._short = {key: value for key, value in SHORT_TIMES.items() if os.environ.get(key, value) == value}
                os.environ.update({key: _PATIENT_TIMES[key] for key in self._short})
            self._transfers += 1
        try:
            yield
        finally:
            with self._lock:
                self._transfers -= 1
                if self._transfers == 0:
                    os.environ.update(self._short)


_patience = _Patience()


def register_checkpoint(handle: RunHandle, folder: Path) -> str:
    """Keep the checkpoint folder with the run and register it under the run's name and alias; gives the version.

    Raises TrackingError.
    """
    if not handle.enabled or not handle.register_as:
        raise TrackingError(f"nothing to register with: give tracking.register_as=NAME, and {CHANGE}")
    if not folder.is_dir():
        raise TrackingError(f"cannot register {folder}: there is no such folder")
    with explained(handle.uri), _patience():
        client = client_of(handle.uri)
        path = f"registered/{folder.name}-{uuid.uuid4().hex[:8]}"
        client.log_artifacts(handle.run_id, str(folder), path)
        try:
            client.create_registered_model(handle.register_as)
        except Exception as error:
            if code(error) != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"runs:/{handle.run_id}/{path}"
        version = str(client.create_model_version(handle.register_as, source=source, run_id=handle.run_id).version)
        if handle.alias.lower() != "latest":
            client.set_registered_model_alias(handle.register_as, handle.alias, version)
    return version


def fetch_registered(model: str, uri: str, into: Path) -> Path:
    """Download `models:/NAME@ALIAS` or `models:/NAME/VERSION` below `into`; what is there already is not fetched again.

    `uri` is the store, "" for MLFLOW_TRACKING_URI. Raises TrackingError.
    """
    match = re.fullmatch(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[^/@]+))", model)
    if match is None:
        raise TrackingError(f"cannot read '{model}': write models:/NAME@ALIAS or models:/NAME/VERSION")
    store = store_uri(TrackingSettings(uri=uri))
    if store == "none":
        raise TrackingError(f"{model} needs a tracking store: set MLFLOW_TRACKING_URI or give tracking.uri=URI")
    if store.startswith("sqlite:///") and not Path(store.removeprefix("sqlite:///")).is_file():
        raise TrackingError(f"cannot fetch {model}: there is no {store.removeprefix('sqlite:///')}")
    with explained(store), _patience():
        client = client_of(store)
        from mlflow.artifacts import download_artifacts

        version = _version(client, model, match["name"], match["alias"] or match["version"], store)
        source = client.get_model_version_download_uri(match["name"], version)
        mark = hashlib.sha256(f"{store} {source}".encode()).hexdigest()[:8]
        target = into / f"{re.sub(r'[^A-Za-z0-9._-]', '_', match['name'])}-{version}-{mark}"
        if target.is_dir():
            return target
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".aside-", dir=into) as aside:
            found = Path(download_artifacts(artifact_uri=source, dst_path=aside, tracking_uri=store))
            with contextlib.suppress(FileExistsError):
                shutil.move(found, target)
    return target


def _version(client: "MlflowClient", model: str, name: str, which: str, store: str) -> str:
    try:
        if which.lower() == "latest":
            newest = client.search_model_versions(f"name='{name}'", max_results=1, order_by=["version_number DESC"])
            if newest:
                return str(newest[0].version)
        elif "@" in model:
            return str(client.get_model_version_by_alias(name, which).version)
        else:
            return str(client.get_model_version(name, which).version)
    except Exception as error:
        if code(error) not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
    for known in client.search_registered_models(max_results=100):
        if known.name == name:
            aliases = [f"@{alias}" for alias in known.aliases]
            raise TrackingError(f"there is no {model} in {shown(store)}: it has {', '.join(['@latest', *aliases])}")
    raise TrackingError(f"there is no registered model '{name}' in {shown(store)}")
