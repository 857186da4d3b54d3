#!/bin/sh
# Writes the digests of the images of others into .env, so that a tag which moves changes nothing. Needs Docker and the
# network. Images of our own are pinned by their digest in whatever registry you push them to.
set -eu
cd "$(dirname "$0")/../.."
[ -e .env ] || { echo "First: sh deploy/docker/prepare.sh" >&2; exit 1; }
sed -n 's/.*image: \${\([A-Z]*_IMAGE\):-\(.*\)}$/\1 \2/p' docker-compose.yml | while read -r name image; do
    digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}' < /dev/null)
    case $digest in
        sha256:*) ;;
        *) echo "No digest of $image: $digest" >&2; exit 1 ;;
    esac
    grep -v "^$name=" .env > .env.new || true
    echo "$name=$image@$digest" >> .env.new
    mv .env.new .env
    echo "$name=$image@$digest"
done
