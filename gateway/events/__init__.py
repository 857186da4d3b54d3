"""Events of a job: listed, or streamed while they happen (Server-Sent Events)."""
