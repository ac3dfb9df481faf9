"""A synthetic TAMV day with injected attacks, played to a running service. Nothing in it ever happened.

``play`` sends it like any client; ``day`` is the same day as pure data.
"""

from guardian.demo.attacks import PROGRAMME
from guardian.demo.day import Item, day
from guardian.demo.play import DEFAULT_SPEED, play
from guardian.demo.town import HONEYPOT

__all__ = ["DEFAULT_SPEED", "HONEYPOT", "PROGRAMME", "Item", "day", "play"]
