# Sourced from the repository's root. Installs what package-lock.json names unless that very lockfile is installed, and
# puts the Node that the project pins first on the PATH: the machine's own may be too old.
#
# The stamp is written last, so an install that was cut short is done again.

weir_stamp=node_modules/.weir-installed
weir_lock=$(cksum <package-lock.json)
if [ ! -x node_modules/.bin/node ] || [ "$(cat "$weir_stamp" 2>/dev/null)" != "$weir_lock" ]; then
  echo "Installing dependencies (once, about a minute) ..." >&2
  npm ci --no-fund --no-audit --loglevel=error >&2 || {
    echo "npm ci failed: see above. Weir needs Linux or macOS on x64 or arm64 and a reachable npm registry." >&2
    exit 1
  }
  printf '%s\n' "$weir_lock" >"$weir_stamp"
fi
PATH="$PWD/node_modules/.bin:$PATH"
export PATH
unset weir_stamp weir_lock
