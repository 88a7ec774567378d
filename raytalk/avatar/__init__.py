"""One person's talking head: what it is, how it renders, what it is exported to."""

from raytalk.avatar.avatar import Avatar, render_together
from raytalk.avatar.card import AvatarCard

__all__ = ["Avatar", "AvatarCard", "render_together"]
