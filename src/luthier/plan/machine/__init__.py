"""Devices by name, and how several share a model."""
