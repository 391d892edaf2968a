#!/bin/sh
# usage: install.sh <folder>: a real vLLM behind its TGIS adapter in <folder>/venv.
# The adapter imports modules that newer versions of vLLM do not have.
set -eu
here=$(CDPATH='' cd "$(dirname "$0")" && pwd)
grep -q avx512f /proc/cpuinfo || { echo "the processor has no AVX-512" >&2; exit 3; }
sh "$here/../venv.sh" "$1/venv" "$here/requirements.txt"
sh "$here/../vllm-metadata.sh" "$1/venv" 0.12.0
