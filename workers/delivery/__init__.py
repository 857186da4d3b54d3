"""Delivery: tells webhooks what became of jobs, by the rows that the end of a job leaves. A process of its own."""
