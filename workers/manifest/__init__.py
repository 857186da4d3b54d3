"""The run manifest: what a result was made from, so that it can be made again and compared."""

from workers.manifest.document import MEDIA_TYPE, SCHEMA_VERSION, Run, compute_features_digest, make_manifest

__all__ = ["MEDIA_TYPE", "SCHEMA_VERSION", "Run", "compute_features_digest", "make_manifest"]
