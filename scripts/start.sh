#!/bin/sh
# npm start: installs what is missing, then becomes Weir. Flags follow `--`: npm start -- --port 8081
# The exec matters: signals sent to npm's child must reach Weir itself.
set -eu
cd "$(dirname "$0")/.."
. scripts/install-if-needed.sh
exec node_modules/.bin/node services/main.ts "$@"
