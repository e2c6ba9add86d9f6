"""API: the REST API under `/v1`, described by the OpenAPI document that it serves itself."""
