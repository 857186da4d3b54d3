"""Bodies on their way in: read in pieces, judged by their first bytes, stored while they are hashed."""
