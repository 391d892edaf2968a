#!/bin/sh
# usage: install.sh <folder>: a real Triton server and its Python backend in <folder>/venv, without a GPU or a container.
set -eu
here=$(CDPATH='' cd "$(dirname "$0")" && pwd)
venv=$1/venv
sh "$here/../venv.sh" "$venv" "$here/requirements.txt" libpython

server=$(echo "$venv"/lib/python3.*/site-packages/pytriton/tritonserver)
version=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
stub=$server/python_backend_stubs/$version/triton_python_backend_stub
if [ ! -f "$stub" ]; then
  echo "the server has no Python stub for Python $version (it has: $(ls "$server/python_backend_stubs" | tr '\n' ' '))" >&2
  exit 3
fi
# The wheel keeps one stub per Python version aside; the server looks for it beside the Python backend.
cp "$stub" "$server/backends/python/"
ln -sfn "$server" "$1/tritonserver"
