"""Driving: somebody's motion makes an avatar move."""
