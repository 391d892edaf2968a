#!/bin/sh
# npm run test:engines -- vllm|tgis: the drivers' suites against real engines that are too large to be installed unasked.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { echo "which engines? npm run test:engines -- vllm|tgis" >&2; exit 64; }
. scripts/install-if-needed.sh
exec vitest run --config test/engines/on-demand.config.ts "$@"
