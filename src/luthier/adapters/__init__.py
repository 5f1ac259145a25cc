"""What is trained: all weights, or low-rank updates beside frozen ones."""
