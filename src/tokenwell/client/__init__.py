"""Client: the SDK of the REST API, and the shapes that both of them speak."""
