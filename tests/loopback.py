"""Servers on loopback that run while a block runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer

_POLL_S = 0.01


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[str]:
    """Run a server in a thread, and yield its address; it is closed at the end, however that comes."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": _POLL_S})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
