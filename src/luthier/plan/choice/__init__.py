"""What could be done instead: changes that make a run fit, and what a budget allows."""
