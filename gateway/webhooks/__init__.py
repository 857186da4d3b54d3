"""Webhooks: who wants to be told, with which secret, and what became of each message."""
