"""Feature networks with their weights."""

from itertools import chain

import torch
from torch import nn

from raytalk.errors import WeightsError
from raytalk.networks.perceptual.network import PerceptualNetwork
from raytalk.networks.perceptual.spec import SPECS, PerceptualSpec
from raytalk.networks.weights import checked_tensor, found_weights, read_keras, read_torch


def load_perceptual(name: str, weights: str = "") -> PerceptualNetwork:
    """The network `name` of SPECS with its weights, on the CPU in float32.

    `weights` is a file, a folder that holds the published file, or the URI of either; without it the file is looked
    for in $RAYTALK_WEIGHTS, ~/.cache/raytalk/weights, torch hub's checkpoints and, for the stand-in, its package.
    Raises WeightsError for an unknown name, a missing or damaged file, a missing tensor or one of another shape.
    """
    spec = SPECS.get(name)
    if spec is None:
        raise WeightsError(f"unknown perceptual network '{name}': choose one of {', '.join(SPECS)}")
    return load_features(spec, weights)


def load_features(spec: PerceptualSpec, weights: str = "") -> PerceptualNetwork:
    """The network of a spec that need not be in SPECS; weights and errors as in `load_perceptual`."""
    with found_weights(spec.weights, weights) as found:
        network = PerceptualNetwork(spec, found.shown, found.sha256())
        keys = chain.from_iterable((kernel, bias) for kernel, bias, _, _ in spec.layers())
        tensors = read_keras(found.path, keys) if spec.keys == "keras" else read_torch(found.path)
        with torch.no_grad():
            for layer, (kernel, bias, _, _) in zip(network.convolutions, spec.layers(), strict=True):
                assert isinstance(layer, nn.Conv2d)
                assert layer.bias is not None
                for own, key in ((layer.weight, kernel), (layer.bias, bias)):
                    own.copy_(checked_tensor(tensors, key, own.shape, spec.weights, spec.title, found.shown))
    return network
