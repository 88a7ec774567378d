"""What the service answers instead of what was asked for: each becomes one `application/problem+json`."""

from collections.abc import Mapping
from typing import Any


class Problem(Exception):
    """Base. `code` is a short word that a program can branch on, `detail` says to a person what to do."""

    status = 500
    usual_code = "internal"
    title = "Something broke here"

    code: str
    """Of the instance alone: Ray raises a class made of its own and ours, which looks up there what no class has."""

    def __init__(
        self,
        detail: str,
        code: str = "",
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """code: a narrower one than the usual; headers: of the answer; extra: further members of the document."""
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.usual_code
        self.headers, self.extra = dict(headers or {}), dict(extra or {})

    def __reduce__(self) -> Any:
        """Survives the way through a Ray handle."""
        return type(self), (self.detail, self.code, self.headers, self.extra)


class BadRequest(Problem):
    """What was sent cannot be read or lacks something."""

    status, usual_code, title = 400, "bad-request", "The request cannot be read"


class Unauthorized(Problem):
    """No key, or one that nobody has."""

    status, usual_code, title = 401, "unauthorized", "A valid API key is needed"


class Forbidden(Problem):
    """Known who asks, and it is not allowed."""

    status, usual_code, title = 403, "forbidden", "That is not allowed"


class NotFound(Problem):
    """There is none, or it is another owner's: nobody can tell which."""

    status, usual_code, title = 404, "not-found", "There is no such thing"


class Conflict(Problem):
    """Right in itself, but not in the state that things are in."""

    status, usual_code, title = 409, "conflict", "That does not fit the present state"


class TooLarge(Problem):
    """More bytes, pixels or seconds than are taken."""

    status, usual_code, title = 413, "too-large", "That is too large"


class WrongMediaType(Problem):
    """Neither a picture nor a video that can be read."""

    status, usual_code, title = 415, "wrong-media-type", "That kind of file is not taken"


class Unprocessable(Problem):
    """Can be read, and its content cannot be used (no face, no consent, wrong shape)."""

    status, usual_code, title = 422, "unprocessable", "That cannot be used"


class TooMany(Problem):
    """More at a time, or more of them, than an owner may have. `Retry-After` says when to come again."""

    status, usual_code, title = 429, "too-many", "Too much at a time"


class Unavailable(Problem):
    """Storage or a part of the service does not answer now."""

    status, usual_code, title = 503, "unavailable", "The service is not ready"
