"""The web page and its files, as they lie in serve/page."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

router = APIRouter(include_in_schema=False)
FOLDER = Path(__file__).resolve().parent.parent.parent / "page"
# Names of files carry no hashes: a browser asks whether it has the newest.
_CACHING = {"Cache-Control": "no-cache"}
_MEDIA_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}
"""what is served, and as what, whatever the machine's table of types says"""


@router.get("/")
async def index() -> Response:
    """The page."""
    if not (FOLDER / "index.html").is_file():
        raise HTTPException(404)
    return FileResponse(FOLDER / "index.html", media_type="text/html", headers=_CACHING)


class PageFiles(StaticFiles):
    """The files beside the page; Python files and others that are no part of it are not served."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """As StaticFiles, for known kinds of files only."""
        kind = _MEDIA_TYPES.get(Path(path).suffix.lower())
        if kind is None:
            raise HTTPException(404)
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Content-Type"] = f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
        return response
