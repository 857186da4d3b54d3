"""Control loops: outbox relay, reaper, deadlines."""
