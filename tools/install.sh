#!/bin/bash
# Puts the programs of BUILD (build) and the documentation below a prefix, or takes away what it put there:
# tools/install.sh install|uninstall DESTDIR PREFIX
# The documentation keeps the shape that it has here, so that its relative links lead somewhere.
set -euo pipefail
cd "$(dirname "$0")/.."

action=${1:-} root=${2:-}${3:-/usr/local}
programs=(blockexportd blockexport)
build=${BUILD:-build}
documents=share/doc/blockexportd

list_documents() {
  printf '%s\n' LICENSE ./*.md docs/*.md docs/*.json docs/benchmarks/* docs/guides/*.md | sed 's|^\./||'
}

case $action in
  install)
    for program in "${programs[@]}"; do
      install -D --mode=755 "$build/$program" "$root/bin/$program"
    done
    list_documents | while read -r name; do
      install -D --mode=644 "$name" "$root/$documents/$name"
    done
    echo "installed below $root: ${programs[*]/#/bin/}, $documents"
    ;;
  uninstall)
    rm -f "${programs[@]/#/$root/bin/}"
    list_documents | while read -r name; do rm -f "$root/$documents/$name"; done
    # The folders too, as far as nobody else put something into them.
    for folder in /docs/benchmarks /docs/guides /docs ''; do
      rmdir --ignore-fail-on-non-empty "$root/$documents$folder" 2>/dev/null || true
    done
    echo "removed from $root: ${programs[*]/#/bin/}, $documents"
    ;;
  *)
    echo "usage: tools/install.sh install|uninstall DESTDIR PREFIX" >&2
    exit 2
    ;;
esac
