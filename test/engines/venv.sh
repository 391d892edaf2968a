#!/bin/sh
# Makes a Python virtual environment with exactly the packages of a requirements file.
# usage: venv.sh <folder> <requirements.txt> [libpython]
# Exit code 3 means "this machine lacks something that only its owner can add"; the last line of stderr says what.
set -eu
folder=$1
requirements=$2
python=/usr/bin/python3

absent() {
  echo "$1" >&2
  exit 3
}

[ -x "$python" ] || absent "$python is missing: install python3 and python3-venv"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

packages=""
"$python" -c 'import venv, ensurepip' 2>/dev/null || packages="python3-venv python$version-venv"
if [ "${3:-}" = libpython ]; then
  /sbin/ldconfig -p | grep -q "libpython$version.so.1.0" || packages="$packages libpython$version"
fi
if [ -n "$packages" ]; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
    absent "packages are missing; as root run: apt-get install -y$packages"
  # shellcheck disable=SC2086 # a list of words on purpose
  { apt-get update -q && apt-get install -yq --no-install-recommends $packages; } >&2 ||
    absent "apt-get could not install:$packages"
fi

rm -rf "$folder"
"$python" -m venv "$folder"
# --no-deps: the requirements are complete for what the tests use; the declared ones weigh hundreds of megabytes more.
"$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$requirements"
