"""Checkpoints that come with raytalk; `raytalk.learning.naming` finds them."""
