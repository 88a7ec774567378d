"""Tables and plots of a sweep anew, from what is kept of it: python -m raytalk.sweep.again FOLDER

For a sweep that ran where there was no matplotlib, or whose plots are to look otherwise. Nothing is measured again.
"""

import json
import sys

import yaml

from raytalk.errors import RaytalkError
from raytalk.evaluation.protocol import Trial
from raytalk.storage import Storage
from raytalk.sweep.answer import keep_answer
from raytalk.sweep.confirm import Confirmation, kept_confirmation
from raytalk.sweep.objective import People, Yardstick
from raytalk.sweep.records import Records, best_of
from raytalk.sweep.settings import SweepSettings
from raytalk.sweep.space import to_space
from raytalk.sweep.sweep import PEOPLE_FILE, SETTINGS_FILE, SPACE_FILE
from raytalk.tracking import RunHandle


def again(uri: str) -> None:
    """Raises RaytalkError if there is no sweep, or none of its trials has a score."""
    place = Storage(uri)
    settings = SweepSettings.model_validate(yaml.safe_load(place.read(SETTINGS_FILE))["settings"])
    records = Records(place)
    best = best_of(records.all(), settings.train.episodes)
    if best is None:
        raise RaytalkError(f"no trial in {uri} has a score")
    kept = kept_confirmation(records)
    confirmation = Confirmation(missing="it was not measured")
    if kept is not None and kept[0][0] == best.number:
        confirmation = kept[1]
    people = json.loads(place.read(PEOPLE_FILE))["selection"]
    chosen = tuple(Trial("block", person, "", "") for person in people["people"])
    selection = People(chosen, Yardstick.from_json(people["yardstick"]))
    space = to_space(yaml.safe_load(place.read(SPACE_FILE)), settings.train)
    keep_answer(place, settings, space, records.all(), best, confirmation, selection, RunHandle("none", ""))


if __name__ == "__main__":
    again(sys.argv[1])
