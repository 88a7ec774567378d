"""Feature networks of the content loss (paper Section 3.2, L_CNT): frozen, known by name, loaded from a file."""

from raytalk.networks.perceptual.loading import load_features, load_perceptual
from raytalk.networks.perceptual.network import PerceptualNetwork
from raytalk.networks.perceptual.spec import SPECS, VGG16_PLAN, PerceptualSpec

__all__ = ["SPECS", "VGG16_PLAN", "PerceptualNetwork", "PerceptualSpec", "load_features", "load_perceptual"]
