"""How the weights move: optimizers, their parameter groups, and schedules."""
