"""Settings of a job: frozen, typed, from a preset, a YAML file and `key=value` words.

Later wins: field defaults, then the preset, then `--config FILE`, then `key=value`. A docstring under a field is
its help text. Unknown keys are refused with the nearest known one.
"""

import difflib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import pydantic
import yaml

from raytalk.errors import SettingsError


class Settings(pydantic.BaseModel):
    """Base of every group of settings."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, coerce_numbers_to_str=True, validate_default=True
    )


class JobSettings(Settings):
    """Base of what a job takes: settings that may come from a preset."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    preset: str = ""
    """name of the preset that the other values started from (--preset NAME)"""

    @classmethod
    def resolve(cls, preset: str | None = None, *layers: dict[str, Any]) -> Self:
        """Merge the preset with `layers` (nested or dotted keys, later wins) and validate.

        Raises SettingsError naming the key that is wrong.
        """
        merged: dict[str, Any] = {}
        flat_layers = [flatten(layer) for layer in layers]
        chosen = preset or next((layer["preset"] for layer in reversed(flat_layers) if layer.get("preset")), None)
        if cls.presets:
            chosen = chosen or next(iter(cls.presets))
            if chosen not in cls.presets:
                raise SettingsError(f"unknown preset '{chosen}': choose one of {', '.join(cls.presets)}")
            merged.update(flatten(cls.presets[chosen]))
            merged["preset"] = chosen
        elif chosen:
            raise SettingsError(f"unknown preset '{chosen}': this job has none")
        known = {key for key, _, _ in describe(cls)}
        for layer in flat_layers:
            for key, value in layer.items():
                if key not in known:
                    raise SettingsError(_unknown_key(key, known))
                if key != "preset":
                    merged[key] = value
        try:
            return cls.model_validate(_nest(merged))
        except pydantic.ValidationError as error:
            raise SettingsError("; ".join(_explain(item) for item in error.errors())) from None

    def to_yaml(self) -> str:
        """The resolved settings as YAML that `--config` takes again."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


S = TypeVar("S", bound="JobSettings")


def parse_command_line(cls: type[S], argv: Sequence[str], about: str) -> S:
    """Settings from a job's command line; handles --help and --print-config (both print and exit 0).

    Raises SettingsError for what it does not understand.
    """
    preset: str | None = None
    layers: list[dict[str, Any]] = []
    overrides: dict[str, Any] = {}
    print_only = False
    words = iter(argv)
    for word in words:
        flag, has_value, value = word.partition("=") if word.startswith("--") else ("", "", "")
        if word in ("-h", "--help"):
            print(help_text(cls, about))
            sys.exit(0)
        elif word == "--print-config":
            print_only = True
        elif flag == "--preset":
            preset = value if has_value else _next(words, "--preset NAME")
        elif flag == "--config":
            layers.append(read_yaml(value if has_value else _next(words, "--config FILE")))
        elif word.startswith("-") or "=" not in word:
            raise SettingsError(f"cannot read '{word}': write key=value, --preset NAME or --config FILE (see --help)")
        else:
            key, _, text = word.partition("=")
            overrides[key] = _value(text)
    settings = cls.resolve(preset, *layers, overrides)
    if print_only:
        print(settings.to_yaml(), end="")
        sys.exit(0)
    return settings


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file of settings. Raises SettingsError if it cannot be read or is not a mapping."""
    try:
        loaded = yaml.safe_load(Path(path).expanduser().read_text())
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise SettingsError(f"{path} must hold 'key: value' lines, not a {type(loaded).__name__}")
    return loaded


def describe(cls: type[Settings], prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every dotted key with its default (PydanticUndefined if required) and help text."""
    for name, field in cls.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, Settings):
            yield from describe(nested, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.get_default(call_default_factory=True), field.description or ""


def help_text(cls: type[JobSettings], about: str) -> str:
    """What --help prints."""
    lines = [about.strip(), "", "usage: JOB [--preset NAME] [--config FILE] [--print-config] [key=value ...]", ""]
    if cls.presets:
        lines += [f"presets: {' · '.join(cls.presets)} (the first is the default)", ""]
    for key, default, text in describe(cls):
        if key == "preset":
            continue
        shown = "required" if repr(default) == "PydanticUndefined" else f"default {_show(default)}"
        lines += [f"  {key}  [{shown}]", f"      {' '.join(text.split())}"]
    return "\n".join(lines)


def _next(words: Iterator[str], what: str) -> str:
    try:
        return next(words)
    except StopIteration:
        raise SettingsError(f"a value is missing: {what}") from None


def _value(text: str) -> Any:
    """Lists, mappings and null are read as YAML; pydantic turns the other words into the field's type."""
    if text == "null" or text.startswith(("[", "{")):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError:
            raise SettingsError(f"'{text}' is not YAML") from None
    return text


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return "none" if value is None else str(value) if value != "" else '""'


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _nest(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *groups, leaf = key.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = value
    return tree


def _unknown_key(key: str, known: set[str]) -> str:
    by_leaf = {name.rsplit(".", 1)[-1]: name for name in known}
    near = difflib.get_close_matches(key, known, n=1) or [
        by_leaf[leaf] for leaf in difflib.get_close_matches(key.rsplit(".", 1)[-1], by_leaf, n=1)
    ]
    return f"unknown setting '{key}'" + (f": did you mean '{near[0]}'?" if near else ": --help lists the settings")


def _explain(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "missing":
        return f"setting '{key}' is required: give {key}=..."
    given = "" if isinstance(item["input"], dict) else f"={item['input']}"
    return f"setting '{key}{given}': {message}" if key else message
