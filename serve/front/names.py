"""Words of users, made fit for records and messages. None of them ever becomes part of a path."""

import unicodedata

from serve.errors import BadRequest, Unprocessable

NAME_LENGTH = 80
CONSENT_LENGTH = 2000
_KEY_LENGTH = 200


def printable(text: str, most: int) -> str:
    """One line of at most so many printable characters: composed, without control or directional ones."""
    # What is far longer than it may be is not looked at whole.
    composed = unicodedata.normalize("NFC", text[: 8 * most])
    kept = (" " if letter.isspace() else letter for letter in composed if letter.isspace() or _is_printable(letter))
    return " ".join("".join(kept).split())[:most].rstrip()


def label_of(filename: str) -> str:
    """What a user called a file, without folders. May be empty."""
    return printable(filename.replace("\\", "/").rpartition("/")[2], NAME_LENGTH)


def person_name(text: str) -> str:
    """Raises Unprocessable (`name`) if nothing printable is left or it is too long."""
    name = printable(text, NAME_LENGTH + 1)
    if not name or len(name) > NAME_LENGTH:
        raise Unprocessable(f"give a 'name' of 1 to {NAME_LENGTH} characters", "name", extra={"field": "name"})
    return name


def consent_statement(text: str, when: str) -> str:
    """The statement to keep. when: a date, for a consent that was only ticked.

    Raises Unprocessable (`consent-missing`, `consent`).
    """
    statement = printable(text, CONSENT_LENGTH + 1)
    if not statement or statement.lower() in {"false", "no", "0", "off", "null", "none"}:
        detail = "say in 'consent' what the person has agreed to, or true: without consent no avatar is made"
        raise Unprocessable(detail, "consent-missing", extra={"field": "consent"})
    if len(statement) > CONSENT_LENGTH:
        raise Unprocessable(f"'consent' has at most {CONSENT_LENGTH} characters", "consent", extra={"field": "consent"})
    return f"given through the API on {when}" if statement.lower() in {"true", "yes", "1", "on"} else statement


def idempotency_key(text: str | None) -> str:
    """Empty for none. Raises BadRequest (`idempotency-key`)."""
    if text is None:
        return ""
    if not 1 <= len(text) <= _KEY_LENGTH or not text.isascii() or not text.isprintable() or text != text.strip():
        raise BadRequest(f"Idempotency-Key has 1 to {_KEY_LENGTH} printable ASCII characters", "idempotency-key")
    return text


def _is_printable(letter: str) -> bool:
    return not unicodedata.category(letter).startswith("C")
