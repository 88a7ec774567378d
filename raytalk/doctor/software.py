"""Which versions a machine has, and whether all machines have the same."""

import contextlib
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import raytalk
from raytalk.doctor.finding import Finding, mend, note, ok

PACKAGES = ("ray", "torch", "pyarrow", "numpy", "mlflow", "pydantic", "safetensors", "opencv-python", "av")
"""what data passes between machines through, or what decides about numbers"""
_GIB = 2**30
_LEAST_FREE = 5 * _GIB
"""bytes of scratch space"""
_LEAST_MEMORY_SHARE = 0.1
_LOST = "not installed"


def versions() -> dict[str, str]:
    """Of Python, raytalk and PACKAGES on this machine."""
    found = {"python": platform.python_version(), "raytalk": raytalk.__version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = _LOST
    return found


def compare(of_nodes: Mapping[str, Mapping[str, str]]) -> list[Finding]:
    """versions() of each node against those of the first, which is the one that starts jobs."""
    (first, reference), *others = of_nodes.items()
    findings = []
    for node, found in others:
        different = [
            f"{name} {found.get(name, _LOST)}, not {version}"
            for name, version in reference.items()
            if _plain(found.get(name, _LOST)) != _plain(version)
        ]
        if different:
            advice = f"install the same as on {first} (constraints.txt), or use one image for all"
            findings.append(mend("versions", f"{'; '.join(different)}: {advice}").at(node))
    if not findings:
        listed = ", ".join(f"{name} {version}" for name, version in reference.items())
        alike = f"alike on {len(of_nodes)} nodes: " if len(of_nodes) > 1 else ""
        findings.append(ok("versions", alike + listed))
    lacking = [name for name, version in reference.items() if version == _LOST]
    if lacking:
        findings.append(
            mend("versions", f"{', '.join(lacking)} not installed: pip install {' '.join(lacking)}").at(first)
        )
    return findings


def _plain(version: str) -> str:
    """Without how it was built: a head without a GPU has torch 2.13.0+cpu, and its workers 2.13.0."""
    return version.partition("+")[0]


def machine() -> list[Finding]:
    """Memory and scratch space."""
    folder = tempfile.gettempdir()
    free, (memory, available) = shutil.disk_usage(folder).free, _memory()
    text = f"{memory / _GIB:.0f} GiB of memory, {available / _GIB:.0f} free; {free / _GIB:.0f} GiB free in {folder}"
    if free < _LEAST_FREE:
        return [mend("machine", f"{text}: checkpoints and videos pass through there; free some space, or set TMPDIR")]
    if available < _LEAST_MEMORY_SHARE * memory:
        return [note("machine", f"{text}: little memory is left; other processes hold it")]
    return [ok("machine", text)]


def _memory() -> tuple[int, int]:
    """Bytes that there are, and that new processes can have."""
    pages = os.sysconf("SC_PAGE_SIZE")
    there, free = pages * os.sysconf("SC_PHYS_PAGES"), pages * os.sysconf("SC_AVPHYS_PAGES")
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    return there, free


def clocks(offsets: Mapping[str, float], most: float = 5.0) -> list[Finding]:
    """offsets: seconds by which each node's clock is surely ahead (or behind, if negative) of this one's."""
    advice = "object stores refuse what has a wrong time, and leases end too early or too late; set the clocks by NTP"
    wrong = [
        mend("clock", f"{abs(offset):.0f} s {'ahead' if offset > 0 else 'behind'}: {advice}").at(node)
        for node, offset in offsets.items()
        if abs(offset) > most
    ]
    return wrong or [ok("clock", f"alike to {most:g} s")]
