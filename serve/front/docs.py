"""The description of the API: /openapi.json completed, and /docs, a page without scripts or foreign hosts."""

import html
import json
from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic.json_schema import models_json_schema

from serve.front.documents import ByLandmarks, ByPose
from serve.front.problems import MEDIA_TYPE, ProblemDocument

router = APIRouter(include_in_schema=False)
_REFERENCE = "#/components/schemas/{model}"
TEXT = """Photographs of a person become an avatar that can be driven in real time.

Errors are `application/problem+json` with a `code` for programs. Where the service has API keys, every request carries
`Authorization: Bearer KEY`. Everything that is rendered is generated, and says so in a C2PA manifest.

**Live driving**: a WebSocket at `/v1/avatars/{id}/live`, subprotocol `raytalk.v1` (browsers add `bearer.KEY` as a
second). The client first sends `{"type": "start", "drive": "picture" | "landmarks" | "pose", "adapt": "auto",
"smooth": "none" | "light", "width": W, "height": H}`, then driving messages: binary, 8 bytes (sequence number and
milliseconds, unsigned 32 bit big-endian) and a JPEG; or `{"type": "landmarks", "n", "t", "points": [[x, y] * 68]}`;
or `{"type": "pose", "n", "t", "pose": {"yaw", "pitch", "roll", "mouth", "eyes", "smile", "brows"}}`. The newest one
wins.

The server answers `{"type": "ready", "resolution", "mode"}`, then pictures: 4 bytes length of a JSON head, the head
(`n, t, detect_ms, render_ms, encode_ms, wait_ms, server_ms, skipped, mode`), a JPEG; and `{"type": "problem", "n",
"code", "detail"}`, after which it goes on, or `{"type": "version", "mode": "FT"}`. With `"window": W` in the start,
at most W pictures are on the way that the client has not acknowledged by `{"type": "shown", "n"}`.

Closing codes: 4401 unauthorized, 4404 not found or deleted, 4429 too many, 1013 unavailable.
"""
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #fff }
code, pre { font: 14px/1.45 ui-monospace, monospace; background: #f3f3f3; border-radius: 4px; padding: 0.1em 0.3em }
pre { padding: 0.8em; overflow-x: auto; white-space: pre-wrap }
details { border: 1px solid #ccc; border-radius: 6px; margin: 0.5rem 0; padding: 0.5rem 1rem }
summary { cursor: pointer }
table { border-collapse: collapse; display: block; overflow-x: auto }
td, th { text-align: left; vertical-align: top; padding: 0.2rem 0.8rem 0.2rem 0 }
b.method { display: inline-block; min-width: 4.5rem }
@media (prefers-color-scheme: dark) {
  body { color: #eee; background: #161616 }
  code, pre { background: #2a2a2a }
  details { border-color: #444 }
  a { color: #8ab4f8 }
}
"""


def completed(description: dict[str, Any]) -> dict[str, Any]:
    """The description with the schemas of problems and bodies, and without those of FastAPI's own errors."""
    schemas = description.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    models = [(model, "validation") for model in (ProblemDocument, ByLandmarks, ByPose)]
    schemas.update(models_json_schema(models, ref_template=_REFERENCE)[1].get("$defs", {}))  # type: ignore[arg-type]
    problem = {"schema": {"$ref": _REFERENCE.format(model=ProblemDocument.__name__)}}
    for operation in _operations(description):
        for status, answer in operation["responses"].items():
            if status == "422" and "application/json" in answer.get("content", {}):
                answer["content"] = {MEDIA_TYPE: problem}
    return description


@router.get("/docs")
async def docs(request: Request) -> Response:
    """For reading; programs take /openapi.json."""
    description = request.app.openapi()
    body = "".join(_section(description, method, path, operation) for method, path, operation in _listed(description))
    root = html.escape(str(request.scope.get("root_path", "")).rstrip("/"))
    page = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>raytalk API</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="{root}/page/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="{root}/docs/style.css"></head><body>
<h1>raytalk API, version {html.escape(description["info"]["version"])}</h1>
{_prose(description["info"]["description"])}
<p>For programs: <a href="{root}/openapi.json">openapi.json</a>.</p>{body}</body></html>"""
    return Response(page, media_type="text/html; charset=utf-8", headers={"Cache-Control": "no-cache"})


@router.get("/docs/style.css")
async def style() -> Response:
    """How it looks."""
    return Response(_STYLE, media_type="text/css", headers={"Cache-Control": "no-cache"})


def _listed(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def _operations(description: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for _, _, operation in _listed(description)]


def _section(description: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [_prose(operation.get("description", ""))]
    rows = [
        (given["name"], given["in"], _kind(given["schema"]), given.get("description", ""))
        for given in operation.get("parameters", [])
    ]
    parts.append(_table("Parameters", ("name", "in", "what", ""), rows))
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<h4>Body, <code>{html.escape(kind)}</code></h4>")
        for schema in content["schema"].get("anyOf", [content["schema"]]):
            parts.append(_members(description, schema))
        parts.extend(
            f"<pre>{html.escape(_short(each['value']))}</pre>" for each in content.get("examples", {}).values()
        )
    answers = [
        (status, " · ".join(answer.get("content", {})), "", answer.get("description", ""))
        for status, answer in operation["responses"].items()
    ]
    parts.append(_table("Answers", ("status", "content", "", ""), answers))
    for answer in operation["responses"].values():
        for content in answer.get("content", {}).values():
            name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
            if name and name != ProblemDocument.__name__:
                parts.append(f"<h4>{html.escape(name)}</h4>{_members(description, content['schema'])}")
                for example in description["components"]["schemas"][name].get("examples", []):
                    parts.append(f"<pre>{html.escape(json.dumps(example, indent=1))}</pre>")
    title = (
        f'<b class="method">{method.upper()}</b> <code>{html.escape(path)}</code> {html.escape(operation["summary"])}'
    )
    return f"<details><summary>{title}</summary>{''.join(parts)}</details>"


def _members(description: dict[str, Any], schema: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    schema = description["components"]["schemas"].get(name, {}) if name else schema
    needed = schema.get("required", [])
    rows = [
        (member, "required" if member in needed else "", _kind(what), what.get("description", ""))
        for member, what in schema.get("properties", {}).items()
    ]
    return _table("", ("member", "", "what", ""), rows)


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    words = [str(schema.get("format") or schema.get("type", ""))]
    if "items" in schema:
        words.append(f"of {_kind(schema['items'])}")
    for key, sign in (("minimum", "≥"), ("maximum", "≤"), ("minItems", "at least"), ("maxItems", "at most")):
        if key in schema:
            words.append(f"{sign} {schema[key]:g}")
    if "default" in schema:
        words.append(f"(default {schema['default']})")
    return " ".join(words)


def _table(title: str, head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    if not rows:
        return ""
    top = "".join(f"<th>{html.escape(word)}</th>" for word in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"{f'<h4>{title}</h4>' if title else ''}<table><tr>{top}</tr>{body}</table>"


def _prose(text: str) -> str:
    """Paragraphs; `code` and **strong** as in Markdown."""
    escaped = html.escape(text)
    for mark, tag in (("`", "code"), ("**", "strong")):
        pieces = escaped.split(mark)
        escaped = "".join(
            piece if number % 2 == 0 else f"<{tag}>{piece}</{tag}>" for number, piece in enumerate(pieces)
        )
    return "".join(f"<p>{paragraph}</p>" for paragraph in escaped.split("\n\n") if paragraph.strip())


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 300 else f"{text[:140]} … {text[-20:]}"
