"""What comes of a study: what its evaluation can tell, known scores, costs per answer."""
