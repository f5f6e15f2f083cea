#!/bin/bash
# Checks the tree: tidy.py, each header alone, formatting, clang-tidy. Usage: tools/lint.sh [--fix | --quick]
#   --fix    only rewrites the formatting        --quick  leaves clang-tidy out
set -euo pipefail
cd "$(dirname "$0")/.."

mapfile -t sources < <(git ls-files --cached --others --exclude-standard '*.h' '*.cc')
if [[ ${1:-} == --fix ]]; then
  exec clang-format-19 -i "${sources[@]}"
fi

status=0
python3 tools/tidy.py || status=1
# Generated headers must exist before others are compiled alone: `make test` or `make build` leaves them here.
if [[ -e build/build.ninja ]]; then
  python3 tools/tidy.py --headers build || status=1
else
  echo 'lint: no header was compiled alone: there is no build/ (make build)'
fi
clang-format-19 --dry-run -Werror "${sources[@]}" || status=1
# The code of a page looks like all other code.
python3 tools/guide_code.py docs/guides/driver.md byte_counter.h - \
  | clang-format-19 --dry-run -Werror --assume-filename=src/block/byte_counter.h || status=1
if [[ ${1:-} != --quick ]]; then
  cmake --preset dev
  cmake --build --preset dev   # generated headers must exist before clang-tidy reads their includers
  run-clang-tidy-19 -quiet -p build-dev -j "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}" "$PWD/src/.*" || status=1
fi
exit "$status"
