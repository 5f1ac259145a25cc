"""Studies: arms × seeds × tasks, driven to the end through any crash."""
