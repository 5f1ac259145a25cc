"""What a run holds in memory, term by term, and where it holds the most."""
