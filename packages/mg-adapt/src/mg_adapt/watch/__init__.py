"""``mg watch``: what is done when, in videos that nobody has cut into clips."""
