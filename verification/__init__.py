"""Every technique beside an independent reference: `python -m verification` prints the table."""
