"""Weights of the loss terms. Apart from `losses`, so that settings can be read without torch."""

import pydantic

from raytalk.config import Settings


class LossSettings(Settings):
    """Weights of the terms, as published."""

    content: float = pydantic.Field(1.5e-1, ge=0)
    """weight of L_CNT on the content network (VGG19 in the paper), at that network's own input scale"""
    identity: float = pydantic.Field(2.5e-2, ge=0)
    """weight of L_CNT on the identity network (VGGFace in the paper); 0 leaves that network out"""
    feature_matching: float = pydantic.Field(10.0, ge=0)
    """weight of L_FM"""
    match: float = pydantic.Field(10.0, ge=0)
    """weight of L_MCH; 0 is the FF variant"""
    match_moves_rows: bool = True
    """whether L_MCH also draws W_i to the embeddings; if false it moves the embedder alone, which may kill it"""
