"""API keys: who an owner is. Only hashes are kept. `python -m serve.keys OWNER` makes a new key."""

import argparse
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from raytalk.errors import SettingsError

LOCAL = "local"
"""the owner of everything where no key is asked for"""
VARIABLE = "RAYTALK_API_KEYS"
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")
_LONGEST = 512
"""characters of a key that are looked at"""


class Keyring:
    """The keys that are valid. Can be pickled; holds no key, only SHA-256 digests.

    Keys are random (256 bits), so a plain hash cannot be searched: a slow one for passwords would only cost time on
    every request.
    """

    def __init__(self, owners: Mapping[str, str] | None = None) -> None:
        """owners: SHA-256 of a key in hexadecimal -> its owner. None or empty: no key is asked for."""
        self._entries = [(bytes.fromhex(digest), owner) for digest, owner in (owners or {}).items()]

    def __bool__(self) -> bool:
        """Whether keys are asked for."""
        return bool(self._entries)

    @classmethod
    def of(cls, path: str, environment: Mapping[str, str] = os.environ) -> Self:
        """The keys of a file (`settings.keys`), else those of RAYTALK_API_KEYS, else none.

        Raises SettingsError if the file cannot be read or holds no key: a service that should ask for keys must not
        open its doors because of a typing mistake.
        """
        if path:
            try:
                text = Path(path).expanduser().read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(f"keys={path} cannot be read: {error}") from error
            return cls(_parsed(text.splitlines(), f"keys={path}"))
        given = environment.get(VARIABLE)
        return cls(_parsed(given.split(","), VARIABLE)) if given is not None else cls()

    def owner(self, key: str) -> str | None:
        """Whose key this is; None: nobody's. Takes the same time whichever it is."""
        digest = hashlib.sha256(key[:_LONGEST].encode("utf-8", "surrogatepass")).digest()
        found: str | None = None
        for known, whose in self._entries:
            if hmac.compare_digest(known, digest):
                found = whose
        return found if len(key) <= _LONGEST else None


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
