"""The gateway: meters what programs ask of an AI provider, in the provider's own language."""
