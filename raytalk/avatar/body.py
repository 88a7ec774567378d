"""What renders: a generator's weights and the engines made from them. ψ' is given with every frame.

All FF avatars of one model share a body, and so its engines, wherever they render.
"""

import threading
import weakref
from typing import Self

import torch
from torch import Tensor

from raytalk.avatar.engines import Engine, EngineName, make_engine
from raytalk.networks.generator import Generator
from raytalk.networks.settings import NetworkSettings

_PROJECTION = "projection."
_shared: "weakref.WeakKeyDictionary[Generator, weakref.ref[Body]]" = weakref.WeakKeyDictionary()
_lock = threading.Lock()


class Body:
    """A generator that learns no more. Engines live as long as an avatar uses them."""

    def __init__(self, generator: Generator, networks: NetworkSettings) -> None:
        """The generator, on the CPU, now belongs to the body."""
        self.generator = generator.eval().requires_grad_(False)
        self.networks = networks
        self._engines: weakref.WeakValueDictionary[tuple[object, ...], Engine] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()

    @classmethod
    def empty(cls, networks: NetworkSettings) -> Self:
        """To be filled."""
        return cls(Generator(networks), networks)

    @classmethod
    def copy(cls, generator: Generator, networks: NetworkSettings) -> Self:
        """Of a generator that is not changed, on any device."""
        body = cls.empty(networks)
        body.generator.load_state_dict({key: value.cpu() for key, value in generator.state_dict().items()})
        return body

    def weights(self) -> dict[str, Tensor]:
        """What of the generator an avatar needs: all but the projection, which ψ' stands for."""
        return {key: value for key, value in self.generator.state_dict().items() if not key.startswith(_PROJECTION)}

    def fill(self, weights: dict[str, Tensor]) -> None:
        """With what `weights` gave."""
        self.generator.load_state_dict(weights, strict=False)

    def engine(self, device: str, dtype: torch.dtype | None, name: EngineName) -> Engine:
        """The engine of these, made if no avatar has it."""
        place = torch.device(device)
        precision = dtype or (torch.bfloat16 if place.type == "cuda" else torch.float32)
        key = (place, precision, name)
        with self._lock:
            engine = self._engines.get(key)
            if engine is None:
                engine = self._engines[key] = make_engine(self.generator, place, precision, name)
        return engine


def shared_body(generator: Generator, networks: NetworkSettings) -> Body:
    """The body of a model's generator: the same for all who ask while somebody has it."""
    with _lock:
        reference = _shared.get(generator)
        body = reference() if reference is not None else None
        if body is None:
            body = Body.copy(generator, networks)
            _shared[generator] = weakref.ref(body)
    return body
