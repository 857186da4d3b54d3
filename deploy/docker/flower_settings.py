"""Settings of Flower in a container: who may enter is read from a secret, since a command line is seen by everybody."""

from __future__ import annotations

import os
from pathlib import Path

basic_auth = [(Path(os.environ["CTCLIP_SECRETS_DIR"]) / "flower_basic_auth").read_text("utf-8").strip()]
