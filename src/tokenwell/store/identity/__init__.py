"""Identity in tables."""
