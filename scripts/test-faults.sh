#!/bin/sh
# npm run test:faults: the long form of the kill campaigns (test/faults/README.md), or the parts that are named:
# npm run test:faults -- gateway=20 control=5. Flags: --seed N, --away-seconds N, --minutes N.
set -eu
cd "$(dirname "$0")/.."
. scripts/install-if-needed.sh
exec node test/faults/campaign/main.ts "$@"
