"""The vocabulary of CXR-BERT (Microsoft, MIT), which a checkpoint of CT-CLIP does not carry. Light: no torch."""

from __future__ import annotations

from pathlib import Path

VOCABULARY_FILE = Path(__file__).parent / "cxr_bert_vocab.txt"
"""One token a line, 30 522 lines."""
