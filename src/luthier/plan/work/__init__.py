"""What a recipe asks of a machine: weights to train, tokens of a step, whose loop."""
