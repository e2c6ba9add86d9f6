"""Identity: people, how they come in, and what they belong to."""
