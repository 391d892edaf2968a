# Sourced from the repository's root. Installs what package-lock.json names unless that very lockfile is installed, and
# puts the Node that the project pins first on the PATH: the machine's own may be too old.
#
# The stamp is written last, so an install that was cut short is done again. Two installs at once would destroy each
# other's work: where flock(1) is to be had, the second waits. The lock is npm's too, so it outlives a start that is
# ended while npm still writes.

weir_installed() {
  [ -x node_modules/.bin/node ] && [ "$(cat node_modules/.weir-installed 2>/dev/null)" = "$(cksum <package-lock.json)" ]
}

weir_install() {
  mkdir -p .cache
  exec 9>.cache/install.lock
  if command -v flock >/dev/null && ! flock -n 9; then
    echo "Waiting for another install of this folder ..." >&2
    flock 9
  fi
  if ! weir_installed; then
    echo "Installing dependencies (once, about a minute) ..." >&2
    npm ci --no-fund --no-audit --loglevel=error >&2 || {
      echo "npm ci failed: see above. Weir needs Linux or macOS on x64 or arm64 and a reachable npm registry." >&2
      exit 1
    }
    cksum <package-lock.json >node_modules/.weir-installed
  fi
  exec 9>&-
}

weir_installed || weir_install
PATH="$PWD/node_modules/.bin:$PATH"
export PATH
