"""The way in: takes studies, answers what became of them. Stores and enqueues, never computes."""
