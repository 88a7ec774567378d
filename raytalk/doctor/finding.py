"""What a check found, and running checks so that none can hang."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from raytalk.errors import RaytalkError

Kind = Literal["ok", "note", "mend"]
"""note: works, but a person may want to know"""
Check = Callable[[], "Sequence[Finding]"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    check: str
    """a short word for what was looked at"""
    kind: Kind
    text: str
    """what was found and, for `mend`, what to do"""
    node: str = ""
    """which machine; empty: the cluster as a whole"""

    def at(self, node: str) -> "Finding":
        """The same, found on a node."""
        return replace(self, node=node)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def ok(check: str, text: str) -> Finding:
    """It works."""
    return Finding(check, "ok", text)


def note(check: str, text: str) -> Finding:
    """It works, but."""
    return Finding(check, "note", text)


def mend(check: str, text: str) -> Finding:
    """It does not work."""
    return Finding(check, "mend", text)


def bounded(name: str, check: Check, seconds: float) -> list[Finding]:
    """What a check finds, or that it failed, or that it did not end within so many seconds.

    A check that hangs goes on in a daemon thread, and ends with the process.
    """
    found: list[Finding] = []

    def run() -> None:
        try:
            found.extend(check())
        except RaytalkError as error:
            found.append(mend(name, " ".join(str(error).split())))
        except Exception as error:  # noqa: BLE001 - whatever a library raises is what a person must know
            found.append(mend(name, f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"))

    thread = threading.Thread(target=run, name=f"check-{name}", daemon=True)
    start = time.monotonic()
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        waited = time.monotonic() - start
        return [
            *found,
            mend(name, f"did not end within {waited:.0f} s: something does not answer (timeout={seconds:g})"),
        ]
    return found
