"""The commands of a Markdown file that tests run: fenced blocks behind a line `<!-- tested -->`."""

import re
from pathlib import Path

_BLOCK = re.compile(r"^<!-- tested -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def marked_blocks(file: Path, language: str) -> str:
    """All of a language, in order, as one script. Raises ValueError if there is none."""
    blocks = [text for kind, text in _BLOCK.findall(file.read_text()) if kind == language]
    if not blocks:
        raise ValueError(f"{file} has no tested block of {language}")
    return "\n".join(blocks)
