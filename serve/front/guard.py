"""What is outermost: who may come at all, headers of every answer, errors that nobody caught, figures."""

import ipaddress
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import Forbidden, Problem
from serve.front.metrics import Metrics
from serve.front.problems import answer, problem_of

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=()",
}
_SAFE = {"GET", "HEAD", "OPTIONS"}
_LOCAL_NAMES = {"localhost", "127.0.0.1", "[::1]", "::1"}


class Guard:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, local_only: bool, origins: tuple[str, ...], metrics: Metrics) -> None:
        """local_only: serve this machine alone; origins: web origins other than its own whose pages may call."""
        self.app, self.local_only, self.metrics = app, local_only, metrics
        self.origins = frozenset(origin.rstrip("/").lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send, refusal)
        else:
            await self._http(scope, receive, send, refusal)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send, refusal: Problem | None) -> None:
        if refusal is None:
            await self.app(scope, receive, send)
            return
        await receive()
        # Before the handshake is accepted a close becomes status 403.
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.code})

    async def _http(self, scope: Scope, receive: Receive, send: Send, refusal: Problem | None) -> None:
        began, status = time.perf_counter(), 0

        async def with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "private, no-store")
            await send(message)

        try:
            if refusal is not None:
                await answer(refusal)(scope, receive, with_headers)
            else:
                await self.app(scope, receive, with_headers)
        except ClientDisconnect:
            # In the middle of its own request: nobody is left to answer.
            return
        except Exception as error:
            problem = problem_of(error)
            if status:
                # Too late to say so: the server cuts the connection, so that the client sees half an answer as such.
                raise
            await answer(problem)(scope, receive, with_headers)
        finally:
            self._measure(scope, status, began)

    def _refusal(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        if self.local_only and not (_is_loopback(scope) and _host_name(headers.get("host", "")) in _LOCAL_NAMES):
            return Forbidden("without API keys only this machine is served: configure keys= to open it", "only-local")
        origin = headers.get("origin", "")
        risky = scope["type"] == "websocket" or scope["method"] not in _SAFE
        if risky and origin and not self._known_origin(origin, headers.get("host", "")):
            return Forbidden("pages of other origins may not call this service (origins=)", "foreign-origin")
        return None

    def _known_origin(self, origin: str, host: str) -> bool:
        if origin.rstrip("/").lower() in self.origins:
            return True
        try:
            return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:
            return False

    def _measure(self, scope: Scope, status: int, began: float) -> None:
        # A template such as /v1/avatars/{id}, not the path: there are as many paths as avatars.
        route = getattr(scope.get("route"), "path", "") or "other"
        method = scope["method"] if scope["method"] in {*_SAFE, "POST", "DELETE", "PUT", "PATCH"} else "other"
        self.metrics.add("http_requests", method=method, route=route, status=str(status or 499))
        self.metrics.add("http_request_ms", (time.perf_counter() - began) * 1e3, method=method, route=route)


def _is_loopback(scope: Scope) -> bool:
    try:
        return ipaddress.ip_address((scope.get("client") or ("",))[0]).is_loopback
    except ValueError:
        return False


def _host_name(host: str) -> str:
    """Without the port."""
    name = host.rpartition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    return name.lower()
