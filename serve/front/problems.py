"""Every answer that is not what was asked for, as `application/problem+json` (RFC 9457)."""

import logging
import secrets
from collections.abc import Mapping
from typing import Any

import pydantic
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from raytalk.errors import StorageError
from serve import errors

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger("raytalk.serve.front")
_SAID_BY_STARLETTE = {404: ("not-found", "there is nothing at this path"), 405: ("method-not-allowed", "")}


class NotAcceptable(errors.Problem):
    """Nothing that can be made is accepted by the client."""

    status, usual_code, title = 406, "not-acceptable", "None of the accepted kinds can be made"


class TooSlow(errors.Problem):
    """A request's body did not come in time."""

    status, usual_code, title = 408, "too-slow", "The request took too long"


class ProblemDocument(pydantic.BaseModel):
    """What went wrong. `code` is for programs, `detail` says to a person what to do."""

    model_config = pydantic.ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "That cannot be used",
                    "status": 422,
                    "code": "consent-missing",
                    "detail": "say in 'consent' what the person has agreed to",
                    "field": "consent",
                }
            ]
        },
    )

    type: str
    """always about:blank: `code` tells problems apart"""
    title: str
    status: int
    code: str
    detail: str


def answer(problem: errors.Problem) -> JSONResponse:
    """The response that tells of a problem."""
    return _document(problem.status, problem.title, problem.code, problem.detail, problem.headers, problem.extra)


def unwrapped(error: BaseException) -> BaseException:
    """The problem inside an error that came over a Ray handle, else the error itself.

    Ray gives what was raised elsewhere as an object of a class made on the spot, with the original as `cause`.
    """
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, errors.Problem | StorageError) else error


def problem_of(error: BaseException) -> errors.Problem:
    """What to tell of any error. What nobody foresaw is logged with a number, and only that number is told."""
    cause = unwrapped(error)
    if isinstance(cause, errors.Problem):
        return cause
    if isinstance(cause, StorageError):
        _log.error("storage: %s", cause)
        return errors.Unavailable("storage does not answer now: try again", "storage", {"Retry-After": "5"})
    number = secrets.token_hex(4)
    _log.error("unexpected error %s", number, exc_info=error)
    return errors.Problem(f"an error of the service, number {number} in its log; trying again may help")


def install(app: FastAPI) -> None:
    """Handlers for everything that routes and FastAPI itself raise."""

    @app.exception_handler(errors.Problem)
    @app.exception_handler(StorageError)
    async def _problem(request: Request, error: Exception) -> JSONResponse:
        problem = problem_of(error)
        request.app.state.front.backend.metrics.add("refused", code=problem.code)
        return answer(problem)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(invalid(error.errors()))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        code, detail = _SAID_BY_STARLETTE.get(error.status_code, ("http", str(error.detail)))
        title = errors.NotFound.title if error.status_code == 404 else str(error.detail)
        return _document(
            error.status_code, title, code, detail or f"{request.method} is not possible here", error.headers
        )


def invalid(found: Any) -> errors.Unprocessable:
    """A problem from pydantic's list of errors. What was sent is not repeated."""
    named = [(".".join(str(part) for part in item["loc"]), str(item["msg"])) for item in found][:20]
    detail = "; ".join(f"{where}: {what}" if where else what for where, what in named[:5])
    listed = [{"where": where, "what": what} for where, what in named]
    return errors.Unprocessable(
        detail or "the request does not fit its description", "invalid", extra={"errors": listed}
    )


def responses(*kinds: type[errors.Problem]) -> dict[int | str, dict[str, Any]]:
    """Documentation of the problems that an operation may answer; some every operation may."""
    everywhere: set[type[errors.Problem]] = {
        errors.Unauthorized,
        errors.Forbidden,
        errors.TooMany,
        errors.Problem,
        errors.Unavailable,
    }
    return {
        kind.status: {
            "description": kind.title,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
        }
        for kind in sorted({*kinds} | everywhere, key=lambda kind: kind.status)
    }


def _document(
    status: int,
    title: str,
    code: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> JSONResponse:
    content = {**(extra or {}), "type": "about:blank", "title": title, "status": status, "code": code, "detail": detail}
    return JSONResponse(content, status, {**(headers or {}), "Cache-Control": "no-store"}, MEDIA_TYPE)
