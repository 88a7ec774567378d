"""Keys: made, read, looked up; and the words of users."""

import hashlib
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raytalk.errors import SettingsError
from serve import keys
from serve.errors import BadRequest, Unprocessable
from serve.front.names import consent_statement, idempotency_key, label_of, person_name, printable
from serve.keys import Keyring, line, main, new_key


def test_a_new_key_is_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["ada"])
    printed = capsys.readouterr().out.splitlines()
    key, entry = printed[1], printed[3]
    assert entry == f"ada {hashlib.sha256(key.encode()).hexdigest()}"
    file = tmp_path / "keys"
    file.write_text(f"# who may come\n\n{entry}\n{line('bob', 'k2').upper().replace('BOB', 'bob')}\n")
    ring = Keyring.of(str(file), {})
    assert ring
    assert ring.owner(key) == "ada"
    assert ring.owner("k2") == "bob"
    for wrong in ("", "k", key + " ", key[:-1], "x" * 100_000, "\ud800", entry.split()[1]):
        assert ring.owner(wrong) is None
    assert key.encode() not in pickle.dumps(ring)
    assert pickle.loads(pickle.dumps(ring)).owner(key) == "ada"


def test_keys_cannot_be_guessed() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key) > 40 for key in keys)


def test_keys_of_the_environment() -> None:
    environment = {"RAYTALK_API_KEYS": f"{line('ada', 'a')},{line('bob', 'b')}, {line('ada', 'c')}"}
    ring = Keyring.of("", environment)
    assert [ring.owner(key) for key in "abcd"] == ["ada", "bob", "ada", None]
    assert not Keyring.of("", {})


@pytest.mark.parametrize(
    "text",
    ["", "# nobody", "ada", "ada abc", f"ada {'0' * 63}", f"ada {'g' * 64}", f"local {'0' * 64}", f"a/b {'0' * 64}",
     f"{'a' * 65} {'0' * 64}", f"ada {'0' * 64} more", f"ada {'0' * 64}\nbob {'0' * 64}"],
)  # fmt: skip
def test_what_is_no_list_of_keys(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(SettingsError, match="keys="):
        Keyring.of(str(tmp_path / "keys"), {})
    with pytest.raises(SettingsError):
        Keyring.of("", {"RAYTALK_API_KEYS": text.replace("\n", ",")})


def test_a_file_that_is_not_there_opens_nothing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        Keyring.of(str(tmp_path / "none"), {"RAYTALK_API_KEYS": line("ada", "a")})
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="cannot be read"):
        Keyring.of(str(tmp_path / "binary"), {})


def test_a_key_taken_out_of_the_file_is_valid_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_AGAIN_S", 0.0)
    file = tmp_path / "keys"

    def write(text: str) -> None:
        """A while ago."""
        file.write_text(text)
        os.utime(file, (time.time() - 10, time.time() - 10))

    write(f"{line('ada', 'k1')}\n{line('bob', 'k2')}\n")
    ring = pickle.loads(pickle.dumps(Keyring.of(str(file), {})))
    assert (ring.owner("k1"), ring.owner("k2"), ring.owner("k3")) == ("ada", "bob", None)
    write(f"{line('ada', 'k1')}\n{line('eve', 'k3')}\n# changed\n")
    assert (ring.owner("k1"), ring.owner("k2"), ring.owner("k3")) == ("ada", None, "eve")
    file.write_text("")
    assert ring.owner("k1") == "ada", "somebody is writing it"
    file.unlink()
    assert ring.owner("k1") == "ada", "a folder that is away for a moment locks nobody out"
    write(f"{line('ada', 'k1')}\nbob without-a-hash\n{line('cid', 'k4')}\n")
    assert [ring.owner(key) for key in ("k1", "k3", "k4")] == ["ada", None, None], "a mistyped line lets nobody new in"
    write("")
    assert (ring.owner("k1"), bool(ring)) == (None, True), "no key is left, and one is still asked for"


def test_the_file_is_not_looked_at_for_every_request(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{line('ada', 'k1')}\n")
    ring = Keyring.of(str(file), {})
    assert ring.owner("k1") == "ada"
    file.write_text(f"{line('bob', 'other')}\n")
    assert ring.owner("k1") == "ada", "not before five seconds are over"


def test_the_command_refuses_odd_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["../x"])
    assert ended.value.code == 2
    assert "owner" in capsys.readouterr().err


def test_words_of_users() -> None:
    assert printable("a\tb\n c\x00\u200b\u202ed", 80) == "a b cd"
    assert printable("e\u0301", 80) == "é"
    assert printable("x" * 10_000_000, 5) == "xxxxx"
    assert label_of("C:\\fake\\..\\me.jpg") == "me.jpg"
    assert label_of("../..") == ".."
    assert label_of("a/") == ""
    assert person_name("  Ada  Lovelace ") == "Ada Lovelace"
    assert person_name("李" * 80) == "李" * 80
    for bad in ("", " ", "\u200b", "x" * 81):
        with pytest.raises(Unprocessable):
            person_name(bad)
    assert consent_statement("I do.\nReally.", "2026-01-01") == "I do. Really."
    assert consent_statement("TRUE", "2026-01-01") == "given through the API on 2026-01-01"
    assert idempotency_key(None) == ""
    assert idempotency_key("a-b") == "a-b"
    for bad in ("", "é", "a\x7f", " a"):
        with pytest.raises(BadRequest):
            idempotency_key(bad)


def test_the_front_needs_neither_torch_nor_ray() -> None:
    code = (
        "import sys, serve.front.app, serve.keys, serve.settings\n"
        "import serve.front.live_session, raytalk.driving.live\n"
        "heavy = {'torch', 'ray', 'mlflow', 'face_alignment', 'dlib', 'numba'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
