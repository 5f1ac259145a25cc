"""Luthier plans, runs, measures and compares LLM fine-tuning studies."""

__version__ = "0.1.0"
