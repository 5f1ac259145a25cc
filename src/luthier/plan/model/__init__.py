"""A model as the planner sees it: its shape and its weights, from a table, a file or the hub."""
