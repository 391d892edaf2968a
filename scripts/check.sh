#!/bin/sh
# npm run check: everything but the suites. Every step runs, whatever the ones before it said; the last line counts them.
set -u
cd "$(dirname "$0")/.."
. scripts/install-if-needed.sh

passed=0
failed=0
skipped=0
output=$(mktemp)
generated=$(mktemp -d)
trap 'rm -rf "$output" "$generated"' EXIT

# step NAME COMMAND...: runs it, shows what it printed if it failed.
step() {
  name=$1
  shift
  if "$@" >"$output" 2>&1; then
    if grep '^SKIPPED' "$output"; then
      skipped=$((skipped + 1))
    else
      passed=$((passed + 1))
      echo "ok      $name"
    fi
  else
    failed=$((failed + 1))
    echo "FAILED  $name"
    sed 's/^/        /' "$output"
  fi
}

skip() {
  skipped=$((skipped + 1))
  echo "SKIPPED: $1: $2"
}

generated_is_current() {
  node scripts/generate.ts "$generated" && diff -r gen "$generated/gen" &&
    diff -r examples/notes/gen "$generated/examples/notes/gen" &&
    diff -r test/rpc/gen "$generated/test/rpc/gen" && return
  echo "gen/ is not what proto/ says: run npm run generate" && return 1
}

contracts_are_formatted() {
  buf format --diff --exit-code proto && buf format --diff --exit-code examples/notes/proto
}

go_is_formatted() {
  unformatted=$(gofmt -l clients test) && [ -z "$unformatted" ] && return
  echo "run gofmt -w on: $unformatted" && return 1
}

step "types" tsc -p .
step "format of code (npm run format)" biome format .
step "lint of code" oxlint --type-aware --deny-warnings .
step "unused code and dependencies" knip
# First of the contracts' steps: it also writes third_party/, which buf then wants.
step "contracts: policy, bounds, shapes" node scripts/check-contracts.ts
step "contracts: format (npm run format)" contracts_are_formatted
step "contracts: lint" buf lint
step "contracts: nothing breaks" node scripts/check-breaking.ts
step "import rules and other rules of the house" node scripts/check-tidy.ts
if command -v go >/dev/null; then
  step "generated code is current" generated_is_current
  step "Go: format" go_is_formatted
  step "Go: go.mod is tidy" go mod tidy -diff
  step "Go: vet" go vet ./...
else
  skip "generated code, Go format and vet" "there is no go on the PATH (https://go.dev/dl, 1.26 or later)"
fi

echo
if [ "$skipped" -gt 0 ]; then
  echo "$passed passed, $failed failed, $skipped skipped"
else
  echo "$passed passed, $failed failed"
fi
[ "$failed" -eq 0 ]
