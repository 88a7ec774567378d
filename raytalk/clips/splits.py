"""Who is trained on and who is held out: train, val and test never share a person."""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from raytalk.clips.schema import SPLITS, Split
from raytalk.errors import ClipsError
from raytalk.storage import Storage

Fold = Literal["dev", "train", "val", "test"]
"""what a tree or a list says of a person; dev is shared out between train and val"""

_FOLDS: dict[str, Fold] = {
    "dev": "dev", "train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "1": "train", "2": "val", "3": "test",
}  # fmt: skip


def assign_splits(
    people: Mapping[str, Fold | None],
    known: Mapping[str, Split],
    val_share: float,
    test_share: float,
    seed: int,
) -> dict[str, Split]:
    """A split for every person.

    people: person_id and what a tree or list says (None: nothing); known: splits already written, which stay.
    The rest is shared out by a seeded hash of the person_id, so that the same people land in the same place in every
    run: val_share and test_share of all undecided people (known ones counted), but at least one val person among
    three and one test person among six. dev people never become test.

    Raises ClipsError if what is written contradicts the tree or list.
    """
    splits: dict[str, Split] = {}
    for person, fold in people.items():
        if person in known:
            if (fold in SPLITS and fold != known[person]) or (fold == "dev" and known[person] == "test"):
                raise ClipsError(
                    f"{person} is written as {known[person]} already, but the tree or list says {fold}: "
                    "use another clips folder for this list"
                )
            splits[person] = known[person]
        elif fold in SPLITS:
            splits[person] = fold
    undecided = sorted((person for person in people if person not in splits), key=lambda person: _rank(person, seed))
    open_to_test = [person for person in undecided if people[person] is None]
    pool = len(undecided) + sum(1 for person in known if people.get(person) in (None, "dev"))
    open_pool = len(open_to_test) + sum(1 for person in known if people.get(person) is None)
    have = Counter({**known, **splits}.values())
    wanted_test = _share(open_pool, test_share, at_least_one_from=6) - have["test"]
    for person in open_to_test[: max(0, wanted_test)]:
        splits[person] = "test"
    wanted_val = _share(pool, val_share, at_least_one_from=3) - have["val"]
    for person in [person for person in undecided if person not in splits][: max(0, wanted_val)]:
        splits[person] = "val"
    return {person: splits.get(person, "train") for person in people}


def read_lists(uri: str) -> dict[str, Fold]:
    """Person (or path) and fold, from a list file.

    Two forms: a table with a header of which one column is `Set` (vox1_meta.csv, vox2_meta.csv: tab or comma
    separated), each person known by every other identifier in the row; or lines `split path`, with the split as a word
    or as 1, 2, 3. Raises ClipsError if it is neither.
    """
    folder, _, name = uri.rstrip("/").rpartition("/")
    text = Storage(folder or ".").read(name).decode("utf-8-sig", errors="replace")
    rows = [row for line in text.splitlines() if (row := _cells(line))]
    if rows and any(cell.lower() == "set" for cell in rows[0]):
        return _from_table(uri, rows)
    return _from_lines(uri, rows)


def folds_of_people(people_of: Mapping[str, str], lists: Mapping[str, Fold], uri: str) -> dict[str, Fold]:
    """Match what `read_lists` found with people.

    people_of: every identifier that a list may use (person_id, video_id, clip_id, path) and its person_id.
    Raises ClipsError if a person is in two splits or if nothing matches.
    """
    folds: dict[str, Fold] = {}
    for key, fold in lists.items():
        person = _match(key, people_of)
        if person is None:
            continue
        if folds.setdefault(person, fold) != fold:
            raise ClipsError(
                f"{uri} has {person} in both {folds[person]} and {fold}, "
                "but training and evaluation must not share people. "
                "Lists made for identifying speakers, such as iden_split.txt of VoxCeleb1, split recordings instead; "
                "take the Set column of vox1_meta.csv"
            )
    if not folds:
        raise ClipsError(f"no person in {uri} is among the videos: check the settings lists and videos")
    return folds


def _rank(person: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{person}".encode()).hexdigest()


def _share(count: int, share: float, at_least_one_from: int) -> int:
    if share <= 0:
        return 0
    return max(round(count * share), 1 if count >= at_least_one_from else 0)


def _cells(line: str) -> list[str]:
    if "\t" in line:
        cells = line.split("\t")
    elif "," in line:
        cells = next(csv.reader([line]))
    else:
        cells = line.split()
    stripped = [cell.strip() for cell in cells]
    while stripped and not stripped[-1]:
        stripped.pop()
    return stripped


def _from_table(uri: str, rows: list[list[str]]) -> dict[str, Fold]:
    header, *body = rows
    column = [cell.lower() for cell in header].index("set")
    identifiers = [index for index, cell in enumerate(header) if cell.lower().endswith("id")] or [0]
    folds: dict[str, Fold] = {}
    for row in body:
        if len(row) != len(header) or row[column].lower() not in _FOLDS:
            raise ClipsError(f"{uri}: cannot read the line '{' '.join(row)[:100]}' (is its Set dev or test?)")
        for index in identifiers:
            folds[row[index]] = _FOLDS[row[column].lower()]
    return folds


def _from_lines(uri: str, rows: Iterable[list[str]]) -> dict[str, Fold]:
    folds: dict[str, Fold] = {}
    for split, *path in rows:
        if split.lower() not in _FOLDS or not path:
            raise ClipsError(
                f"{uri}: cannot read the line '{' '.join([split, *path])[:100]}': "
                "expected a table with a Set column (vox1_meta.csv), or lines 'split path'"
            )
        folds[" ".join(path)] = _FOLDS[split.lower()]
    if not folds:
        raise ClipsError(f"{uri} is empty")
    return folds


def _match(key: str, people_of: Mapping[str, str]) -> str | None:
    """The longest leading part of `key` (without its suffix) that names a person, one of their videos or clips."""
    parts = [part for part in key.split("/") if part]
    for start in range(len(parts)):
        for end in range(len(parts), start, -1):
            candidate = "/".join(parts[start:end])
            stem = candidate.rpartition(".")[0] if end == len(parts) else ""
            for name in (candidate, stem):
                if name and name in people_of:
                    return people_of[name]
    return None
