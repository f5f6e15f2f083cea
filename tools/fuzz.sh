#!/bin/bash
# Runs every fuzz target in turn from its seeds. Usage: tools/fuzz.sh BUILD_DIR SECONDS
# The corpus of a target stays in BUILD_DIR/corpus/TARGET; a finding is kept in BUILD_DIR/findings/ and fails the run.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${1:?usage: tools/fuzz.sh BUILD_DIR SECONDS}
seconds=${2:?usage: tools/fuzz.sh BUILD_DIR SECONDS}
mkdir -p "$build/findings"

mapfile -t targets < <(find "$build" -type f -name 'fuzz_*' -executable | sort)
if ((${#targets[@]} == 0)); then
  echo "fuzz: no targets in $build" >&2
  exit 1
fi

status=0
for target in "${targets[@]}"; do
  name=$(basename "$target")
  corpus=$build/corpus/$name
  seeds=fuzz/seeds/${name#fuzz_}
  mkdir -p "$corpus"
  echo "== $name, $seconds s"
  "$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=60 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="$build/findings/$name-" "$corpus" $([[ -d $seeds ]] && echo "$seeds") || status=1
done
exit "$status"
