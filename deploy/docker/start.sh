#!/bin/sh
# Starts what a container runs. One that is started again must not look ready from before.
set -eu
rm -f "${CTCLIP_READY_FILE:-/tmp/ready}"
exec "$@"
