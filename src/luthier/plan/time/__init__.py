"""How long a run takes: from its work and the machine's speeds, or from a measurement."""
