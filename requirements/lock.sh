#!/bin/sh
# Resolve requirements/*.in into hashed locks for Python 3.11 to 3.13. Usage: requirements/lock.sh (uv on PATH)
set -eu
cd "$(dirname "$0")"
# What only a GPU needs is left out of torch's CUDA build: 1 GB less, everything on a processor works (installs are --no-deps).
skip="--no-emit-package triton --no-emit-package nvidia-cusolver --no-emit-package nvidia-nvtx --no-emit-package cuda-bindings --no-emit-package cuda-pathfinder"
lock() {
  # shellcheck disable=SC2086
  uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header $skip "$@"
}
for group in uv laptop dev; do
  lock "$group.in" -o "$group.lock.txt"
done
lock serve.in --overrides serve.overrides.txt -o serve.lock.txt
