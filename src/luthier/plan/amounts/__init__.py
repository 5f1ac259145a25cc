"""How many rows and tokens there are: stated, measured, counted, or asked for."""
