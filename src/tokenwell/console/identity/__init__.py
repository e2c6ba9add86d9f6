"""Identity: how people come in, who belongs to an organization, and what one keeps of oneself."""
