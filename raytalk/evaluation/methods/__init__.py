"""What is compared: methods that see a few frames of a person and make that person's pictures of other landmarks."""

from raytalk.evaluation.methods.made import Made, Method

__all__ = ["Made", "Method"]
