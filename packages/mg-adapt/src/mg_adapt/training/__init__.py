"""One training: its data, its loader, its step, its engine, its state."""
