"""Access in tables."""
