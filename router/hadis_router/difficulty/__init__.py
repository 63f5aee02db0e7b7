"""How hard a prompt is, from its text alone."""
