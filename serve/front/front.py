"""What every route needs: the backend, the settings, limits of this replica, and who asks."""

import asyncio
import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import HTTPConnection

from serve.errors import NotFound, TooMany, Unauthorized
from serve.front.backend import Backend
from serve.front.driving import Posers
from serve.front.limits import Places, TokenBuckets
from serve.keys import LOCAL
from serve.records.store import is_id

if TYPE_CHECKING:
    from serve.settings import ServiceSettings

P = ParamSpec("P")
T = TypeVar("T")

_REFUSED_PER_MINUTE = 30.0
"""wrong keys from one address before it has to wait; and how often the audit log hears of it"""
_UPLOADS = 4
"""uploads of an owner at a time"""
_EVENT_STREAMS = 32
"""streams of events of an owner at a time"""
_DECODERS = 2
"""photographs and videos that are decoded at a time: one of 80 million pixels takes 400 to 800 MB"""
_MOVERS = 4
"""threads for the mathematics of live driving"""


@dataclass
class Front:
    """One replica's state. Nothing that must outlive it."""

    backend: Backend
    settings: "ServiceSettings"
    requests: TokenBuckets = field(init=False)
    refusals: TokenBuckets = field(init=False)
    uploads: Places = field(default_factory=lambda: Places(_UPLOADS))
    streams: Places = field(default_factory=lambda: Places(_EVENT_STREAMS))
    live: Places = field(init=False)
    posers: Posers = field(default_factory=Posers)
    decoders: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_DECODERS, "decode"))
    movers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_MOVERS, "move"))
    parts: dict[str, bool] = field(default_factory=dict)
    """which other parts answered when they were asked last"""
    parts_asked: float = -math.inf
    """when that was (monotonic)"""
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    """of who asks them, one at a time"""

    def __post_init__(self) -> None:
        limits = self.settings.limits
        self.requests, self.live = TokenBuckets(limits.requests_per_minute), Places(limits.live)
        self.refusals = TokenBuckets(_REFUSED_PER_MINUTE)

    async def decoded(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """The result of decoding something, in one of few threads."""
        return await _in(self.decoders, work, *arguments, **named)

    async def moved(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """The result of a little arithmetic, in a thread."""
        return await _in(self.movers, work, *arguments, **named)

    def owner_of(self, key: str | None, address: str) -> str:
        """Who shows this key. Raises Unauthorized, or TooMany for an address that tries many."""
        keyring = self.backend.keyring
        if not keyring:
            return LOCAL
        owner = keyring.owner(key) if key else None
        if owner is not None:
            return owner
        if key:
            wait = self.refusals.take(address)
            if wait:
                raise TooMany("too many wrong keys from this address", "too-fast", {"Retry-After": str(int(wait) + 1)})
            self.backend.audit.note("", "refused-key", address=address)
        what = "this key is not valid" if key else "a key is needed"
        raise Unauthorized(f"{what}: send Authorization: Bearer KEY", headers={"WWW-Authenticate": "Bearer"})

    def check_rate(self, owner: str) -> None:
        """Counts a request. Raises TooMany (`too-fast`) if there were too many lately."""
        most = self.settings.limits.requests_per_minute
        self.requests.check(owner, f"{most:g} requests a minute are the most")

    def holds(self, key: str | None, owner: str) -> bool:
        """Whether this key still says that one is this owner: what lasts long asks again."""
        keyring = self.backend.keyring
        return not keyring or (bool(key) and keyring.owner(key or "") == owner)


def front_of(connection: HTTPConnection) -> Front:
    """The state of this replica."""
    front: Front = connection.app.state.front
    return front


def address_of(connection: HTTPConnection) -> str:
    """Of the other end, as far as the server knows."""
    return connection.client.host if connection.client else ""


_bearer = HTTPBearer(auto_error=False, description="A key of `python -m serve.keys OWNER`, where keys are configured")


async def _asking(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> str:
    front = front_of(request)
    key = credentials.credentials if credentials else None
    owner = front.owner_of(key, address_of(request))
    request.state.holds = functools.partial(front.holds, key, owner)
    front.check_rate(owner)
    return owner


def _identity(
    id: Annotated[str, Path(description="32 hexadecimal digits", examples=["0123456789abcdef0123456789abcdef"])],
) -> str:
    if not is_id(id):
        raise NotFound("there is no such thing, or it is not yours")
    return id


Owner = Annotated[str, Depends(_asking)]
"""Who asks; a request without a valid key or over the rate ends here"""
Id = Annotated[str, Depends(_identity)]
"""From the path; what cannot be an id is not found"""
Here = Annotated[Front, Depends(front_of)]


async def _in(executor: ThreadPoolExecutor, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(executor, functools.partial(work, *arguments, **named))
