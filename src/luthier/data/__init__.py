"""Rows to conversations to tokens with a loss mask to padding-free batches."""
