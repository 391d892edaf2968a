#!/bin/sh
# npm test: every suite, or those that the arguments name: npm test -- test/unit
set -eu
cd "$(dirname "$0")/.."
. scripts/install-if-needed.sh
exec vitest run "$@"
