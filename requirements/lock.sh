#!/bin/sh
# Resolve requirements/*.in into hashed locks for Python 3.11 to 3.13. Usage: requirements/lock.sh (uv on PATH)
set -eu
cd "$(dirname "$0")"
# What only a GPU needs is left out of torch's CUDA build: 1 GB less, everything on a processor works (installs are --no-deps).
skip="--no-emit-package triton --no-emit-package nvidia-cusolver --no-emit-package nvidia-nvtx --no-emit-package cuda-bindings --no-emit-package cuda-pathfinder"
compile() {
  uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header "$@"
}
for group in uv laptop dev; do
  # shellcheck disable=SC2086
  compile $skip "$group.in" -o "$group.lock.txt"
done
# shellcheck disable=SC2086
compile $skip serve.in --overrides serve.overrides.txt -o serve.lock.txt
# Images have the laptop's versions; the trainer's has what only a GPU needs, too.
# The operator downloads no model, and MLflow's client never signs in at Google through Databricks: what only these need is left out.
unused="--no-emit-package hf-xet --no-emit-package google-auth --no-emit-package cryptography"
unused="$unused --no-emit-package pyasn1 --no-emit-package pyasn1-modules"
# shellcheck disable=SC2086
compile operator.in $unused -c laptop.lock.txt -o operator.lock.txt
compile trainer.in -c laptop.lock.txt -o trainer.lock.txt
# Stand-ins for other people's images have versions of their own.
for directory in ../tests/e2e/images/*/; do
  if [ -e "$directory/requirements.in" ]; then
    (cd "$directory" && compile requirements.in -o requirements.lock.txt)
  fi
done
