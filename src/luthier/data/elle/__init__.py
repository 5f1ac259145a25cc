"""Elle: generated intelligence briefings whose right answer is known; see docs/elle.md."""

from luthier.data.elle.generate import elle_example, generate_elle
from luthier.data.elle.world import Level, Style

__all__ = ["Level", "Style", "elle_example", "generate_elle"]
