"""The pages say what is true: their command lines parse, messages that they explain are in the code, tables are
computed by the code that they name, scripts in them run, and links lead somewhere."""

import ast
import importlib.util
import inspect
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
from toy import write_toy_clips

from raytalk.clips.catalog import read_clips, scan
from raytalk.clips.ledger import Ledger
from raytalk.clips.schema import REJECTED_SCHEMA, write_table
from raytalk.config import JobSettings, parse_command_line
from raytalk.errors import SettingsError
from raytalk.storage import Storage
from serve.records.store import Store

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md"))]
ELSEWHERE = "## Messages of other programs"


def page(name: str) -> str:
    return (ROOT / name).read_text()


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Script and arguments of every line of a fenced block, or code in a line, that runs one of our scripts."""
    blocks = "\n".join(re.findall(r"^```(?:bash)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    lines = [*blocks.splitlines(), *re.findall(r"`((?:nice -n 10 )?python (?:jobs|benchmarks)/[^`]+)`", text)]
    for line in lines:
        for part in re.split(r"&&|;|\|", line):
            found = re.search(r"(?:^|\s)((?:jobs|benchmarks)/\w+\.py)(\s.*)?$", part.strip())
            if found:
                # A file of settings is what another command wrote.
                yield found[1], shlex.split(re.sub(r"--config \S+", "", found[2] or ""), comments=True)


@lru_cache
def script(path: str) -> ModuleType:
    """A file of jobs/ or benchmarks/ as a module; what it imports from beside itself is found."""
    file = ROOT / path
    sys.path.append(str(file.parent))
    try:
        spec = importlib.util.spec_from_file_location(f"documented_{file.stem}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(file.parent))
    return module


@lru_cache
def scale() -> Any:
    """What the tables are computed from."""
    scaling = script("benchmarks/scaling.py")
    return scaling.Model(scaling.ScalingSettings())


def settings_of(path: str) -> type[JobSettings]:
    """What a script's main takes."""
    found: Any = inspect.get_annotations(script(path).main, eval_str=True)["settings"]
    assert issubclass(found, JobSettings)
    return found  # type: ignore[no-any-return]


@lru_cache
def texts() -> list[str]:
    """Every text in the code, with … where a value is put in."""
    found = []
    for folder in ("raytalk", "serve", "jobs"):
        for file in (ROOT / folder).rglob("*.py"):
            nodes = list(ast.walk(ast.parse(file.read_text())))
            docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
            for node in nodes:
                if id(node) in docstrings:
                    continue
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
                elif isinstance(node, ast.JoinedStr):
                    found.append("".join(_piece(value) for value in node.values))
                elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
                    found.append(_sum(node))
    return found


def _piece(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else "…"


def _sum(node: ast.expr) -> str:
    """Texts that are added up."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _sum(node.left) + _sum(node.right)
    return "".join(_piece(value) for value in node.values) if isinstance(node, ast.JoinedStr) else _piece(node)


def is_said(message: str) -> bool:
    """Whether a text of the code contains the message; … stands for anything."""
    pattern = re.compile(".*".join(re.escape(part) for part in message.split("…")), re.DOTALL)
    return any(pattern.search(text) for text in texts())


def explained_messages() -> list[str]:
    """What the first column of the tables of docs/troubleshooting.md says in code, before other programs' messages."""
    ours = page("docs/troubleshooting.md").partition(ELSEWHERE)[0]
    rows = [line for line in ours.splitlines() if line.startswith("| `")]
    return [message for row in rows for message in re.findall(r"`([^`]+)`", row.split(" | ")[0])]


@pytest.mark.parametrize("name", PAGES)
def test_command_lines_parse(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    seen = 0
    for path, arguments in commands(page(name)):
        with pytest.raises(SystemExit) as ended:
            parse_command_line(settings_of(path), [*arguments, "--print-config"], "")
        assert ended.value.code == 0, f"{path} {arguments}"
        assert capsys.readouterr().out
        seen += 1
    assert seen >= {"README.md": 10, "docs/scaling.md": 2, "docs/voxceleb2.md": 5}.get(name, 0)


def test_a_mistyped_command_line_would_be_seen() -> None:
    text = "```\npython jobs/preprocess.py videos=/data clips=/clips min_fase=40\n```\n"
    [(path, arguments)] = commands(text)
    with pytest.raises(SettingsError, match="min_face"):
        parse_command_line(settings_of(path), [*arguments, "--print-config"], "")


def test_every_message_explained_is_one_that_the_code_says() -> None:
    messages = explained_messages()
    assert len(messages) > 80
    assert [message for message in messages if not is_said(message)] == []


def test_a_message_that_nothing_says_would_be_seen() -> None:
    assert is_said("the face measures … px, … are needed")
    assert not is_said("the face measures … px and … are needed")
    assert not is_said("are needed … the face measures")


@pytest.mark.parametrize("name", ["docs/scaling.md", "docs/voxceleb2.md"])
def test_tables_are_what_the_code_computes(name: str) -> None:
    text = page(name)
    assert "<!-- scaling.py " in text
    assert script("benchmarks/scaling.py").updated(text, scale(), script("benchmarks/scaling.py").TABLES) == text


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page(name)):
        if target.startswith(("http:", "https:")):
            continue
        file, _, anchor = target.partition("#")
        where = (ROOT / name).parent / file if file else ROOT / name
        assert where.exists(), target
        if anchor:
            assert anchor in anchors(where.read_text()), target


Script = Callable[..., str]


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """Runs a script of docs/operations.md; what it prints."""

    def run(name: str, *arguments: str) -> str:
        block = rf"^<!-- tested: {name} -->\n```python\n(.*?)^```"
        [source] = re.findall(block, page("docs/operations.md"), re.MULTILINE | re.DOTALL)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        exec(compile(source, f"{name}.py", "exec"), {"__name__": "__main__"})
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("place", ["folder", pytest.param("bucket", marks=pytest.mark.s3)])
def test_a_person_is_taken_out_of_clips(
    place: str, tmp_path: Path, request: pytest.FixtureRequest, run_script: Script
) -> None:
    uri = f"{request.getfixturevalue('s3_server')}/clips" if place == "bucket" else str(tmp_path)
    write_toy_clips(uri, people=4, held_out=2, frames=10, per_file=3)
    storage = Storage(uri)
    rejected = [dict.fromkeys(REJECTED_SCHEMA.names, "x") | {"person_id": who} for who in ("person1", "person9")]
    write_table(storage, "rejected/some.parquet", pa.Table.from_pylist(rejected, schema=REJECTED_SCHEMA))
    storage.write("contact-sheet.png", b"faces")
    before = {clip.clip_id: clip for path in scan(storage, "train").files for clip in read_clips(storage, path)}
    assert run_script("remove_person", uri, "person1") == "2 rows of person1 removed\n"
    assert run_script("remove_person", uri, "person3") == "1 rows of person3 removed\n"
    after = {clip.clip_id: clip for path in scan(storage, "train").files for clip in read_clips(storage, path)}
    assert sorted({clip.person_id for clip in after.values()}) == ["person0", "person2"]
    assert all(clip.frames == before[name].frames for name, clip in after.items())
    assert [row["person_id"] for row in Ledger.read(storage).rejected] == ["person9"]
    assert not storage.exists("contact-sheet.png")
    assert len(storage.entries("train")) == 1  # person3 was alone in a file
    assert run_script("remove_person", uri, "person1") == "nobody is called person1\n"


def test_who_was_deleted_after_a_backup_is_deleted_again(tmp_path: Path, run_script: Script) -> None:
    restored, lost = Store(str(tmp_path / "restored")), Store(str(tmp_path / "lost"))
    ada, bob, film_of_ada, film_of_bob, other = (restored.new_id() for _ in range(5))
    for avatar in (ada, bob):
        restored.put_material(avatar, "000.jpg", b"face")
        restored.write_record("avatars", avatar, json.dumps({"id": avatar}).encode())
    for film, avatar in ((film_of_ada, ada), (film_of_bob, bob), (other, bob)):
        restored.write_record("films", film, json.dumps({"id": film, "avatar": avatar}).encode())
    events = [
        {"action": "avatar-deleted", "avatar": ada},
        {"action": "film-deleted", "avatar": bob, "film": film_of_bob},
        {"action": "driven-live-start", "avatar": bob},
    ]
    for number, event in enumerate(events):
        lost.write_audit("2026-11-26", f"{number:06d}", json.dumps(event).encode())
    said = run_script("remove_deleted", str(tmp_path / "restored"), str(tmp_path / "lost"))
    assert said.count("deleted again") == 3
    assert (restored.ids("avatars"), restored.ids("films")) == ([bob], [other])
    assert not restored.storage.exists(f"avatars/{ada}")


def anchors(text: str) -> set[str]:
    """Of headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
