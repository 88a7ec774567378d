"""Settings from presets, files and words; what is refused and how it is said."""

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import pydantic
import pytest
import yaml

from raytalk.config import JobSettings, Settings, describe, flatten, help_text, parse_command_line, read_yaml
from raytalk.errors import SettingsError
from raytalk.learning.settings import MetatrainSettings


class Engine(Settings):
    """A group."""

    power: int = pydantic.Field(90, ge=1)
    """kilowatts"""
    fuel: Literal["petrol", "none"] = "petrol"
    """what it burns"""


class Car(JobSettings):
    """A job."""

    name: str
    """what it is called"""
    wheels: int = 4
    """how many"""
    note: str | None = "plain"
    """anything"""
    colours: tuple[str, ...] = ()
    """from front to back"""
    engine: Engine = Engine()

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "family": {"wheels": 4},
        "trike": {"wheels": 3, "engine": {"power": 40}},
    }

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if self.wheels > 9:
            raise ValueError(f"wheels={self.wheels} do not fit under a car")
        return self


def parse(*words: str) -> Car:
    return parse_command_line(Car, words, "About cars.")


def test_defaults_come_from_the_first_preset() -> None:
    car = parse("name=a")
    assert (car.preset, car.wheels, car.engine.power) == ("family", 4, 90)


def test_later_layers_win(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("name: from first\nwheels: 5\nengine: {power: 50, fuel: none}\n")
    second.write_text("engine.power: 60\n")
    car = parse("wheels=6", "--config", str(first), f"--config={second}", "--preset", "trike")
    assert (car.preset, car.name, car.wheels) == ("trike", "from first", 6)
    assert (car.engine.power, car.engine.fuel) == (60, "none")


def test_a_file_may_name_the_preset_and_the_command_line_overrules_it(tmp_path: Path) -> None:
    file = tmp_path / "car.yaml"
    file.write_text("preset: trike\nname: a\n")
    assert parse("--config", str(file)).wheels == 3
    assert parse("--config", str(file), "--preset=family").preset == "family"
    assert parse("name=a", "preset=trike").engine.power == 40


def test_words_become_the_type_of_the_field() -> None:
    car = parse("name=007", "note=null", "colours=[red, blue]", "engine.power=12")
    assert car.name == "007"
    assert car.note is None
    assert car.colours == ("red", "blue")
    assert car.engine.power == 12
    assert parse("name=a=b").name == "a=b"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["name=a", "wheel=3"], "unknown setting 'wheel': did you mean 'wheels'?"),
        (["name=a", "powr=3"], "did you mean 'engine.power'?"),
        (["name=a", "engine.zzzzzz=3"], "unknown setting 'engine.zzzzzz'"),
        (["name=a", "engine=3"], "unknown setting 'engine'"),
        (["wheels=3"], "setting 'name' is required: give name=..."),
        (["name=a", "wheels=three"], "setting 'wheels=three'"),
        (["name=a", "engine.power=0"], "setting 'engine.power=0'"),
        (["name=a", "engine.fuel=coal"], "setting 'engine.fuel=coal'"),
        (["name=a", "wheels=[1"], "'[1' is not YAML"),
        (["name=a", "--preset", "lorry"], "unknown preset 'lorry': choose one of family, trike"),
        (["name=a", "--preset"], "a value is missing: --preset NAME"),
        (["name=a", "--config"], "a value is missing: --config FILE"),
        (["name=a", "--colour"], "cannot read '--colour'"),
        (["name"], "cannot read 'name': write key=value"),
    ],
)
def test_mistakes_are_named(words: list[str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(*words)
    assert message in str(caught.value)


def test_a_rule_over_several_settings_reads_as_a_sentence() -> None:
    with pytest.raises(SettingsError) as caught:
        parse("name=a", "wheels=12")
    assert str(caught.value) == "wheels=12 do not fit under a car"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a: [1", "is not YAML"), (b"- a\n- b\n", "not a list"), (b"\xff\xfe\xff", "is not YAML"), (None, "cannot read")],
)
def test_bad_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "car.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        read_yaml(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "car.yaml"
    file.write_text("# nothing\n")
    assert parse("name=a", "--config", str(file)) == parse("name=a")


def test_print_config_can_be_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["name=a", "note=null", "colours=[x]", "engine.power=7", "--preset", "trike"]
    with pytest.raises(SystemExit) as ended:
        parse(*words, "--print-config")
    assert not ended.value.code
    file = tmp_path / "printed.yaml"
    file.write_text(capsys.readouterr().out)
    assert parse("--config", str(file)) == parse(*words)


def test_help_names_every_setting_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse("--help")
    assert not ended.value.code
    shown = capsys.readouterr().out
    assert "About cars." in shown
    assert "name  [required]" in shown
    assert "engine.power  [default 90]\n      kilowatts" in shown
    assert "family · trike" in shown


def test_settings_are_frozen() -> None:
    with pytest.raises(pydantic.ValidationError):
        parse("name=a").wheels = 5  # type: ignore[misc]


def test_flatten() -> None:
    assert flatten({"a": 1, "b": {"c": 2, "d": {"e": 3}}}) == {"a": 1, "b.c": 2, "b.d.e": 3}


@pytest.mark.parametrize("preset", list(MetatrainSettings.presets))
def test_presets_of_metatrain_resolve_and_print(preset: str) -> None:
    settings = MetatrainSettings.resolve(preset)
    assert MetatrainSettings.resolve(None, yaml.safe_load(settings.to_yaml())) == settings


def test_every_setting_of_metatrain_has_a_help_text() -> None:
    silent = [key for key, _, text in describe(MetatrainSettings) if not text]
    assert silent == []
    assert "losses.match" in help_text(MetatrainSettings, "")


def test_the_paper_preset_is_the_paper() -> None:
    settings = MetatrainSettings.resolve("paper")
    losses, rates = settings.losses, settings.optimization
    assert (losses.content, losses.identity, losses.feature_matching, losses.match) == (0.15, 0.025, 10, 10)
    assert (rates.generator_rate, rates.discriminator_rate, rates.discriminator_steps) == (5e-5, 2e-4, 2)
    assert rates.beta1 == 0
    assert settings.data.shots == 8
    assert settings.networks.resolution == 256


def test_a_batch_that_workers_cannot_share_is_refused() -> None:
    with pytest.raises(SettingsError, match="batch_size=8 cannot be shared by workers=9: lower workers"):
        MetatrainSettings.resolve("paper", {"workers": 9})


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        ({"networks.resolution": 96}, "power of two"),
        ({"networks.max_channels": 32}, "max_channels=32 is below min_channels"),
        ({"networks.attention_down": 24}, "attention_down"),
        ({"networks.attention_up": 512}, "attention_up"),
    ],
)
def test_networks_that_cannot_be_built_as_asked_are_refused(layer: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        MetatrainSettings.resolve("paper", layer)
