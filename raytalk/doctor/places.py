"""Whether a machine can write, read, list and delete where jobs keep everything."""

import secrets
import time

from raytalk.doctor.finding import Finding, mend, note, ok
from raytalk.storage import Storage

_PATIENCE = 10.0
_BYTES = 4 << 20
_SLOW = 5e6
"""bytes a second"""
FOLDER = "doctor"


def leave_word(uri: str) -> str:
    """Write something for the other machines to find; its name."""
    name = f"{FOLDER}/{secrets.token_hex(8)}"
    Storage(uri, _PATIENCE).write(name, name.encode())
    return name


def take_word_back(uri: str, name: str) -> list[Finding]:
    """Delete it, and the folder of such words if nothing else is in it."""
    storage = Storage(uri, _PATIENCE)
    storage.delete(name)
    if not [entry for entry in storage.entries(FOLDER) if not entry.is_folder]:
        storage.delete(FOLDER)
    return []


def usable(uri: str, word: str = "") -> list[Finding]:
    """Write, read, list, delete; and find the word that the driver's machine left. Raises StorageError."""
    storage = Storage(uri, _PATIENCE)
    if word and not storage.exists(word):
        if storage.local_root is not None:
            return [
                mend("storage", f"{uri} is another folder here than on the driver's machine: share it, or use s3://")
            ]
        return [mend("storage", f"{uri} is another bucket here than for the driver: check AWS_ENDPOINT_URL_S3")]
    name, data = f"{FOLDER}/{secrets.token_hex(8)}", secrets.token_bytes(_BYTES)
    start = time.perf_counter()
    storage.write(name, data)
    written = time.perf_counter()
    try:
        same = storage.read(name) == data
        read = time.perf_counter()
        listed = name in [entry.path for entry in storage.entries(FOLDER)]
    finally:
        storage.delete(name)
    if not same:
        return [mend("storage", f"{uri} gave back something else than was written: check the disk or the store")]
    if not listed:
        return [mend("storage", f"{uri} does not list what was just written: jobs would do everything twice")]
    if storage.exists(name):
        return [mend("storage", f"{uri} does not delete: allow deleting, or old checkpoints will fill it")]
    write, back = _BYTES / (written - start), _BYTES / (read - written)
    text = f"{uri}: writes {write / 1e6:.0f} MB/s, reads {back / 1e6:.0f} MB/s, lists and deletes"
    if min(write, back) < _SLOW:
        return [note("storage", f"{text}: slow; training would wait for clips")]
    return [ok("storage", text)]
