"""Where the things under test lie, and what several tests ask of them."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
CLUSTER = ROOT / "cluster"
KUBERAY = CLUSTER / "kuberay"
MONITORING = CLUSTER / "monitoring"


def documents(file: Path) -> list[dict[str, Any]]:
    """All documents of a YAML file."""
    return [each for each in yaml.safe_load_all(file.read_text()) if each is not None]


def kubernetes_objects() -> list[tuple[Path, dict[str, Any]]]:
    """Every object of the Kubernetes manifests, with the file that it is in."""
    return [(file, each) for file in sorted(KUBERAY.rglob("*.yaml")) for each in documents(file)]


def objects(kind: str) -> list[tuple[Path, dict[str, Any]]]:
    """Those of one kind."""
    return [(file, each) for file, each in kubernetes_objects() if each["kind"] == kind]


def pinned(package: str) -> str:
    """The version of a package in constraints.txt."""
    found = re.search(rf"^{re.escape(package)}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert found, f"constraints.txt does not name {package}"
    return found[1]


def strings(tree: Any) -> list[str]:
    """Every string in a tree of mappings and lists."""
    if isinstance(tree, dict):
        return [text for value in tree.values() for text in strings(value)]
    if isinstance(tree, list):
        return [text for value in tree for text in strings(value)]
    return [tree] if isinstance(tree, str) else []
