"""Receipts of results, verified without the platform and without the network."""

from client.receipts.verifying import PublicKey, Verdict, read_public_key, verify

__all__ = ["PublicKey", "Verdict", "read_public_key", "verify"]
