#!/bin/sh
# usage: install.sh <folder>: a real llama.cpp server in <folder>/venv and a tiny random model in <folder>/model.
set -eu
here=$(CDPATH='' cd "$(dirname "$0")" && pwd)
sh "$here/../venv.sh" "$1/venv" "$here/requirements.txt"
"$1/venv/bin/python" "$here/make_model.py" "$1/model"
