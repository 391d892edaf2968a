#!/bin/sh
# usage: vllm-metadata.sh <venv> <version>
# vLLM's builds for CPUs are distributions of other names, and still ask for their own version as vllm; "+cpu" in it
# selects the platform.
set -eu
packages=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
metadata="$packages/vllm-$2+cpu.dist-info"
mkdir -p "$metadata"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$2" > "$metadata/METADATA"
