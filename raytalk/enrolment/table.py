"""A table of people: a CSV file with a line for each."""

import csv
import io
import re
from dataclasses import dataclass
from typing import cast

from raytalk.enrolment.settings import Mode
from raytalk.errors import SettingsError
from raytalk.storage import file_at

_REQUIRED, _OPTIONAL = ("name", "images"), ("id", "clip", "mode", "consent")


@dataclass(frozen=True)
class Row:
    """One person."""

    id: str
    """name of the avatar's folder"""
    name: str
    images: str
    clip: str
    mode: Mode
    consent: str


def read_table(uri: str, mode: Mode, consent: str) -> list[Row]:
    """All people. mode and consent: of those for whom the table says nothing.

    Raises SettingsError naming the line that cannot be used, StorageError if there is no such file.
    """
    place, name = file_at(uri)
    try:
        lines = csv.DictReader(io.StringIO(place.read(name).decode("utf-8-sig"), newline=""), strict=True)
        columns = [column.strip() for column in lines.fieldnames or []]
        lines.fieldnames = columns
        numbered = [(lines.line_num, _row(uri, lines.line_num, line, mode, consent)) for line in lines]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{uri} is not a CSV file in UTF-8: {error}") from None
    missing = [column for column in _REQUIRED if column not in columns]
    unknown = [column for column in columns if column not in (*_REQUIRED, *_OPTIONAL)]
    if missing or unknown:
        what = f"lacks the column {missing[0]}" if missing else f"has the unknown column '{unknown[0]}'"
        raise SettingsError(
            f"{uri} {what}: its columns are {', '.join((*_REQUIRED, *_OPTIONAL))}, the first two required"
        )
    if not numbered:
        raise SettingsError(f"{uri} names nobody: give a line for each person below the columns' names")
    seen: dict[str, int] = {}
    for number, row in numbered:
        if row.id in seen:
            raise SettingsError(
                f"{uri}, lines {seen[row.id]} and {number}: both would be kept as '{row.id}'; give a column id"
            )
        seen[row.id] = number
    return [row for _, row in numbered]


def folder_name(name: str) -> str:
    """A person's name as the name of a folder: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _row(uri: str, number: int, line: dict[str, str | None], mode: Mode, consent: str) -> Row:
    if None in line:
        raise SettingsError(f'{uri}, line {number}: more cells than columns; put a text with commas into "quotes"')
    values = {key: (value or "").strip() for key, value in line.items()}
    chosen = (values.get("mode") or mode).upper()
    name, images = values.get("name", ""), values.get("images", "")
    identifier = values.get("id") or folder_name(name)
    if "name" in values and "images" in values and not (name and images):
        raise SettingsError(f"{uri}, line {number}: name and images must not be empty")
    if chosen not in ("FF", "FT"):
        raise SettingsError(f"{uri}, line {number}: mode is '{values.get('mode')}', and must be FF or FT")
    if "name" in values and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", identifier):
        raise SettingsError(
            f"{uri}, line {number}: '{identifier or name}' cannot name a folder; "
            "give a column id with letters, digits, . _ -"
        )
    return Row(identifier, name, images, values.get("clip", ""), cast(Mode, chosen), values.get("consent") or consent)
