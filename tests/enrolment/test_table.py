"""A table of people, and what is wrong with it."""

from pathlib import Path

import pytest

from raytalk.enrolment.table import Row, folder_name, read_table
from raytalk.errors import SettingsError, StorageError


def read(folder: Path, text: str) -> list[Row]:
    (folder / "people.csv").write_text(text)
    return read_table(str(folder / "people.csv"), "FT", "by mail")


def test_columns_that_are_not_there_have_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, "name,images\nAda Lovelace,/a\n") == [
        Row("ada-lovelace", "Ada Lovelace", "/a", "", "FT", "by mail")
    ]
    rows = read(tmp_path, "\ufeffid, name ,images,clip,mode,consent\nx1,Ada,/a,c/0,ff,\ny2,Bob,/b,,,signed\n")
    assert rows == [Row("x1", "Ada", "/a", "c/0", "FF", "by mail"), Row("y2", "Bob", "/b", "", "FT", "signed")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lacks the column name"),
        ("name\nAda\n", "lacks the column images"),
        ("name,images,age\nAda,/a,36\n", "unknown column 'age'"),
        ("name,images\n", "names nobody"),
        ("name,images\nAda,\n", "line 2: name and images must not be empty"),
        ("name,images,mode\nAda,/a,fast\n", "line 2: mode is 'fast'"),
        ("name,images,consent\nAda,/a,by letter, 3 May\n", "line 2: more cells than columns"),
        ("name,images\n\n\nAda,\n", "line 4: name and images must not be empty"),
        ("name,images\nAda,/a\nADA,/b\n", "lines 2 and 3: both would be kept as 'ada'"),
        ("name,images\n李,/a\n", "line 2: '李' cannot name a folder; give a column id"),
        ("id,name,images\n../x,Ada,/a\n", "'../x' cannot name a folder"),
    ],
)
def test_what_is_wrong_is_said_with_the_line(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=said):
        read(tmp_path, text)


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        read_table(str(tmp_path / "gone.csv"), "FT", "")
    (tmp_path / "bytes.csv").write_bytes(b"name,images\n\xff\xfe,/a\n")
    with pytest.raises(SettingsError, match="not a CSV file in UTF-8"):
        read_table(str(tmp_path / "bytes.csv"), "FT", "")


def test_names_of_folders() -> None:
    assert folder_name("Dr. Ada  Lovelace!") == "dr-ada-lovelace"
