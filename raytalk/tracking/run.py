"""The run: its settings, its store, and beginning or taking it up."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pydantic

from raytalk.command import absolute_uri
from raytalk.config import Settings
from raytalk.errors import TrackingError
from raytalk.storage import Storage, join
from raytalk.tracking.store import CHANGE, UNAVAILABLE, brief, client_of, code, explained, log_params, shown, warn

if TYPE_CHECKING:
    from mlflow import MlflowClient


class TrackingSettings(Settings):
    """Where a run is written down."""

    uri: str = ""
    """MLflow's tracking store: http://host:port, sqlite:////folder/mlflow.db or none; empty: MLFLOW_TRACKING_URI,
    otherwise sqlite in the run's folder"""
    experiment: str = "raytalk"
    """MLflow experiment; made if there is none"""
    register_as: str = pydantic.Field(default="", pattern=r"^[^/:@]*$")
    """name under which the finished run's checkpoint goes into MLflow's registry; empty: not registered"""
    alias: str = pydantic.Field(default="latest", pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")
    """alias of the registered version; 'latest' is always the newest one"""

    def without_password(self) -> Self:
        """For files that others read: a store whose URI holds a password is left to MLFLOW_TRACKING_URI."""
        return self if shown(self.uri) == self.uri else self.model_copy(update={"uri": ""})


@dataclass(frozen=True)
class RunHandle:
    """One run in one store. Can be pickled; `uri` is "none" where nothing is tracked."""

    uri: str
    run_id: str
    register_as: str = ""
    alias: str = "latest"
    unconfirmed: bool = False
    """the store did not answer when the run was taken up again; a tracker sets it running when it does"""

    @property
    def enabled(self) -> bool:
        """Whether anything is written."""
        return self.uri != "none"


def start_run(
    settings: TrackingSettings,
    output_folder_uri: str,
    name: str,
    params: Mapping[str, object],
    run_id: str | None = None,
    parent: str = "",
) -> RunHandle:
    """Create the run `name`, or take up `run_id` again, and log `params` (flat; changed ones become tags `resumed.*`).

    `output_folder_uri` is the run's folder, `parent` the id of the run that a new one becomes a child of. A run_id that
    the store does not know gives a new run, with a word about it; a server that is away when a run is taken up again
    stops nothing. Raises TrackingError.
    """
    uri = store_uri(settings, output_folder_uri)
    if uri == "none":
        if settings.register_as:
            raise TrackingError(f"tracking.register_as={settings.register_as} needs a store: {CHANGE}")
        return RunHandle(uri, run_id or "")
    with explained(uri):
        client = client_of(uri)
        taken_up = _take_up(client, uri, run_id) if run_id else None
        if run_id and taken_up is not None:
            if taken_up:
                log_params(client, run_id, params)
            return RunHandle(uri, run_id, settings.register_as, settings.alias, unconfirmed=not taken_up)
        experiment = _experiment(client, settings.experiment, _artifacts(uri, output_folder_uri))
        tags = {"mlflow.parentRunId": parent} if parent else None
        created = str(client.create_run(experiment, run_name=name, tags=tags).info.run_id)
        log_params(client, created, params)
    return RunHandle(uri, created, settings.register_as, settings.alias)


def _take_up(client: "MlflowClient", uri: str, run_id: str) -> bool | None:
    """Set the run running: whether the store confirmed it, None if the store has no such run."""
    try:
        client.update_run(run_id, "RUNNING")
        if client.get_run(run_id).info.lifecycle_stage == "active":
            return True
    except Exception as error:
        if uri.startswith("http") and code(error) in UNAVAILABLE:
            warn("tracking server %s does not answer: the run goes on (%s)", shown(uri), brief(error))
            return False
        if code(error) not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
    warn("tracking %s does not have the run %s (deleted?): a new one is made", shown(uri), run_id)
    return None


def store_uri(settings: TrackingSettings, output_folder_uri: str = "") -> str:
    """The tracking store that the settings mean, made absolute. Raises TrackingError for one that cannot be used."""
    uri = settings.uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri == "none":
        return uri
    if not uri:
        folder = Storage(output_folder_uri).local_root if output_folder_uri else None
        if folder is None:
            place = f"{output_folder_uri.partition('?')[0]} cannot hold one" if output_folder_uri else "none is given"
            raise TrackingError(f"a tracking store is needed, and {place}: set MLFLOW_TRACKING_URI or {CHANGE}")
        uri = f"sqlite:///{folder / 'mlflow.db'}"
    if uri.startswith("sqlite:///"):
        return f"sqlite:///{absolute_uri(uri.removeprefix('sqlite:///'))}"
    if "://" not in uri or uri.startswith("file:"):
        raise TrackingError(f"MLflow keeps no runs in a plain folder ({uri}): give sqlite:///{uri}/mlflow.db")
    return uri.rstrip("/")


def _experiment(client: "MlflowClient", name: str, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except Exception as error:
            found = client.get_experiment_by_name(name) if code(error) == "RESOURCE_ALREADY_EXISTS" else None
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise TrackingError(f"the MLflow experiment '{name}' was deleted: restore it or give tracking.experiment=NAME")
    return str(found.experiment_id)


def _artifacts(uri: str, output_folder_uri: str) -> str | None:
    """Where a new experiment's files go; a server decides that itself, and MLflow's default is the working folder."""
    if uri.startswith("sqlite:///"):
        return str(Path(uri.removeprefix("sqlite:///")).parent / "mlflow-artifacts")
    if uri.startswith(("postgresql", "mysql", "mssql")):
        return join(output_folder_uri.partition("?")[0], "mlflow-artifacts")
    return None
