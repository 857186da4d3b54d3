"""The API reference: OpenAPI, and a page of it that needs no internet."""
