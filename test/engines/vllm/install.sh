#!/bin/sh
# usage: install.sh <folder>: a real vLLM for CPUs in <folder>/venv, with the Rust front end of the CUDA build.
set -eu
here=$(CDPATH='' cd "$(dirname "$0")" && pwd)
version=0.32.0
sh "$here/../venv.sh" "$1/venv" "$here/requirements.txt"
sh "$here/../vllm-metadata.sh" "$1/venv" "$version"

# The front end is one binary, which only the CUDA build has; of that nothing else is needed.
"$1/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$1/wheel" "vllm==$version"
"$1/venv/bin/python" "$here/take_binary.py" "$1/wheel" vllm/vllm-rs "$1/vllm-rs"
rm -r "$1/wheel"
