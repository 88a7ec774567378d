"""What became of a fault that was made on purpose."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Outcome:
    """`held`: whether everything was as it must be; `measured`: figures and words, by what they are."""

    fault: str
    held: bool
    measured: dict[str, float | str] = field(default_factory=dict)
