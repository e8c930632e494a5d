"""Other people's score files: read without executing anything, joined by name, written for their readers."""
