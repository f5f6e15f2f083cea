#!/bin/bash
# Puts the programs of BUILD (build), their manual pages and completion if they were made (make manual), and the
# documentation below a prefix, or takes away what it put there:
# tools/install.sh install|uninstall DESTDIR PREFIX
# The documentation keeps the shape that it has here, so that its relative links lead somewhere.
set -euo pipefail
cd "$(dirname "$0")/.."

action=${1:-} root=${2:-}${3:-/usr/local}
programs=(blockexportd blockexport)
build=${BUILD:-build}
documents=share/doc/blockexportd

list_documents() {
  printf '%s\n' LICENSE ./*.md docs/*.{md,json,svg} docs/{benchmarks,dashboards}/* docs/guides/*.md | sed 's|^\./||'
}

# Files of BUILD/manual, each with its place below the prefix.
list_manual() {
  local page
  for page in docs/manual/*.scd; do
    page=$(basename "$page" .scd)
    echo "$page share/man/man${page##*.}/$page"
  done
  echo 'blockexport.bash share/bash-completion/completions/blockexport'
  echo '_blockexport share/zsh/site-functions/_blockexport'
  echo 'blockexport.fish share/fish/vendor_completions.d/blockexport.fish'
}

case $action in
  install)
    for program in "${programs[@]}"; do
      install -D --mode=755 "$build/$program" "$root/bin/$program"
    done
    list_manual | while read -r name place; do
      if [[ -e $build/manual/$name ]]; then install -D --mode=644 "$build/manual/$name" "$root/$place"; fi
    done
    list_documents | while read -r name; do
      install -D --mode=644 "$name" "$root/$documents/$name"
    done
    echo "installed below $root: ${programs[*]/#/bin/}, $documents"
    ;;
  uninstall)
    rm -f "${programs[@]/#/$root/bin/}"
    list_manual | while read -r _ place; do rm -f "$root/$place"; done
    list_documents | while read -r name; do rm -f "$root/$documents/$name"; done
    # The folders too, as far as nobody else put something into them.
    for folder in /docs/benchmarks /docs/dashboards /docs/guides /docs ''; do
      rmdir --ignore-fail-on-non-empty "$root/$documents$folder" 2>/dev/null || true
    done
    echo "removed from $root: ${programs[*]/#/bin/}, $documents"
    ;;
  *)
    echo "usage: tools/install.sh install|uninstall DESTDIR PREFIX" >&2
    exit 2
    ;;
esac
