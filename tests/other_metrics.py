"""Other people's implementations of metrics, imported beside a torchvision that is not there."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

_PARTS = ("", ".datasets", ".models", ".transforms", ".transforms.functional")


class _Anything(ModuleType):
    """A module in which every name is an empty class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return sys.modules.get(f"{self.__name__}.{name}") or type(name, (), {})


def imported(name: str) -> Any:
    """The module `name`, which asks for torchvision while it is imported and needs it for nothing that is tested."""
    missing = [] if importlib.util.find_spec("torchvision") else [f"torchvision{part}" for part in _PARTS]
    sys.modules.update({part: _Anything(part) for part in missing})
    # A place of its own: see the Makefile.
    place = str(Path(sys.prefix) / "torch-fidelity")
    sys.path.append(place)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(place)
        for part in missing:
            del sys.modules[part]
