#!/bin/sh
# npm run test:faults: the long form of the kill campaigns (test/faults/README.md). Flags: --seed N, --gateway N,
# --control N, --postgres N (kills), --minutes N.
set -eu
cd "$(dirname "$0")/.."
. scripts/install-if-needed.sh
exec node test/faults/campaign/main.ts "$@"
