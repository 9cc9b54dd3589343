#!/bin/sh
# Lock the dependencies anew: hashes, no index addresses. Needs uv.
set -eu
cd "$(dirname "$0")/.."
lock() {
  out=$1
  shift
  uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-header --no-annotate -q "$@" -o "$out"
}
lock requirements/run.txt --extra fast --extra sign --extra elastic --extra evtx --extra build
lock requirements/dev.txt --extra fast --extra sign --extra elastic --extra evtx --extra build --extra convert --extra generate --extra dev -c requirements/run.txt
lock requirements/bench.txt --extra fast --extra sign --extra elastic --extra evtx --extra build --extra bench -c requirements/run.txt
