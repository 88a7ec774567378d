"""API keys: who an owner is. Only hashes are kept. `python -m serve.keys OWNER` makes a new key."""

import argparse
import hashlib
import hmac
import logging
import os
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from raytalk.errors import SettingsError

_log = logging.getLogger("raytalk.serve.keys")

LOCAL = "local"
"""the owner of everything where no key is asked for"""
VARIABLE = "RAYTALK_API_KEYS"
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")
_LONGEST = 512
"""characters of a key that are looked at"""
_AGAIN_S = 5.0
"""after which the file is looked at again"""
_WRITING_S = 2.0
"""a file as young as this may not be whole yet"""


class Keyring:
    """The keys that are valid. Can be pickled; holds no key, only SHA-256 digests.

    Keys are random (256 bits), so a plain hash cannot be searched: a slow one for passwords would only cost time on
    every request.
    """

    def __init__(self, owners: Mapping[str, str] | None = None, file: Path | None = None) -> None:
        """owners: SHA-256 of a key in hexadecimal -> its owner. None or empty: no key is asked for.

        file: where they are from; when it changes, its keys are valid and no others, two seconds later, so that it is
        not read while somebody writes it. Where a line of it cannot be understood no new key is taken, and what was
        taken out is valid no longer. A file that cannot be read, or is not on this machine, leaves everything as it is.
        """
        self._entries = _entries(owners or {})
        self._asked = bool(owners)
        self._file, self._looked, self._seen = file, 0.0, _stamp(file)

    def __bool__(self) -> bool:
        """Whether keys are asked for."""
        return self._asked

    @classmethod
    def of(cls, path: str, environment: Mapping[str, str] = os.environ) -> Self:
        """The keys of a file (`settings.keys`), else those of RAYTALK_API_KEYS, else none.

        Raises SettingsError if the file cannot be read or holds no key: a service that should ask for keys must not
        open its doors because of a typing mistake.
        """
        if path:
            file = Path(path).expanduser().absolute()
            source = f"keys={path}"
            return cls(_parsed(_text(file, source).splitlines(), source), file)
        given = environment.get(VARIABLE)
        return cls(_parsed(given.split(","), VARIABLE)) if given is not None else cls()

    def owner(self, key: str) -> str | None:
        """Whose key this is; None: nobody's. Takes the same time whichever it is."""
        self._look_again()
        digest = hashlib.sha256(key[:_LONGEST].encode("utf-8", "surrogatepass")).digest()
        found: str | None = None
        for known, whose in self._entries:
            if hmac.compare_digest(known, digest):
                found = whose
        return found if len(key) <= _LONGEST else None

    def _look_again(self) -> None:
        if self._file is None or time.monotonic() < self._looked + _AGAIN_S:
            return
        self._looked = time.monotonic()
        seen = _stamp(self._file)
        if seen is None or seen == self._seen or 0 <= time.time() - seen[0] / 1e9 < _WRITING_S:
            return
        source = f"keys={self._file}"
        try:
            text = _text(self._file, source)
        except SettingsError as error:
            _log.warning("the keys stay as they were: %s", error)
            return
        self._seen = seen
        try:
            self._entries = _entries(_parsed(text.splitlines(), source))
        except SettingsError as error:
            words = set(text.lower().split())
            self._entries = [entry for entry in self._entries if entry[0].hex() in words]
            _log.warning("no new key is taken: %s", error)


def new_key() -> str:
    """A key that cannot be guessed."""
    return f"rt_{secrets.token_urlsafe(32)}"


def line(owner: str, key: str) -> str:
    """What the file of keys says of a key. Raises SettingsError if that is no name for an owner."""
    return f"{_checked_owner(owner, 'owner')} {hashlib.sha256(key.encode()).hexdigest()}"


def main(arguments: list[str] | None = None) -> None:
    """Print a new key, once, and the line for the file of keys."""
    parser = argparse.ArgumentParser(prog="python -m serve.keys", description=__doc__)
    parser.add_argument("owner", help="letters, digits and ._@-; the same owner may have several keys")
    owner = parser.parse_args(arguments).owner
    key = new_key()
    try:
        entry = line(owner, key)
    except SettingsError as error:
        parser.error(str(error))
    print(f"key for {owner}, shown only now:\n{key}\nline for the file that keys= names (or {VARIABLE}):\n{entry}")


def _entries(owners: Mapping[str, str]) -> list[tuple[bytes, str]]:
    return [(bytes.fromhex(digest), owner) for digest, owner in owners.items()]


def _stamp(file: Path | None) -> tuple[int, int] | None:
    """What changes with the file; None: it is not there."""
    try:
        found = file.stat() if file is not None else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if found is not None else None


def _text(file: Path, source: str) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{source} cannot be read: {error}") from error


def _parsed(lines: Iterable[str], source: str) -> dict[str, str]:
    owners: dict[str, str] = {}
    for number, text in enumerate(lines, start=1):
        words = text.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{source}, entry {number}"
        if len(words) != 2 or not _HASH.fullmatch(words[1].lower()):
            raise SettingsError(f"{where} must be OWNER SHA256-OF-KEY: python -m serve.keys OWNER prints one")
        digest = words[1].lower()
        if digest in owners:
            raise SettingsError(f"{where} repeats a key that {owners[digest]} has")
        owners[digest] = _checked_owner(words[0], where)
    if not owners:
        raise SettingsError(f"{source} holds no key: python -m serve.keys OWNER makes one")
    return owners


def _checked_owner(owner: str, where: str) -> str:
    if not _OWNER.fullmatch(owner) or owner == LOCAL:
        raise SettingsError(f"{where}: an owner's name has 1 to 64 letters, digits or ._@- and is not '{LOCAL}'")
    return owner


if __name__ == "__main__":
    main()
