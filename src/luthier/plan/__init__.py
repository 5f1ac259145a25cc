"""What a run takes and what its evaluation can tell, before anything is paid; without torch."""
