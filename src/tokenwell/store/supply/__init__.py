"""Supply in tables."""
