#!/bin/bash
# The work of tools/bare_machine.sh in a bare machine, in the checkout: tools/bare_machine_checks.sh smoke|whole
# First `make serve` as a stranger types it: it builds, two clients ask, a Ctrl-C ends it and leaves nothing behind.
# Then `make test` (whole), or what it does for a few folders and black-box tests (smoke).
set -euo pipefail
cd "$(dirname "$0")/.."

serve_limit_s=900
test_limit_s=1500
stop_limit_s=15
log=/tmp/serve.log
# Fast to build, and each of another kind: libraries, TLS, the rules of the house, packaged clients, a guide.
smoke_targets=(blockexportd blockexport base_test json_test authz_test pam_hang)
smoke_tests='^(base|json|authz)\.|^tidy\.(layers|text|limits)$|^tools\.'
smoke_tests+='|^blackbox\.nbd\.(handshake|libnbd|nbdinfo|tls_certificates)$'
smoke_tests+='|^blackbox\.(cli\.(libraries|processes)|client\.tls_guide)$'

say() {
  printf '%4d s  %s\n' "$SECONDS" "$*"
}

fail() {
  say "$*" >&2
  exit 1
}

installed_mb() {
  dpkg-query --show --showformat='${Installed-Size}\n' | awk '{ total += $1 } END { printf "%d", total / 1000 }'
}

# dpkg knows of a package too when another one only recommends it.
is_installed() {
  [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Nothing that only tests need may be here after `make serve`.
check_packages() {
  local package
  for package in libgtest-dev llvm-19 libclang-rt-19-dev libpam0g-dev qemu-system-common nbdkit; do
    if is_installed "$package"; then fail "make serve installed $package"; fi
  done
  for package in libnbd-bin qemu-utils; do
    is_installed "$package" || fail "make serve did not install $package"
  done
}

ask() {
  local uri size
  uri=$(grep --only-matching 'nbd://127.0.0.1:[0-9]*/disk' "$log" | head -n 1)
  size=$(nbdinfo --size "$uri")
  [[ $size == 67108864 ]] || fail "the size is '$size'"
  nbdinfo --map "$uri" | tee /dev/stderr | awk '$4 == "data" { data++ } $4 == "hole,zero" { holes++ }
    END { exit !(data == 3 && holes == 2) }' || fail 'the map is not that of the demo image'
  nbdcopy "$uri" /tmp/copy.img
  qemu-img compare -f raw -F raw "$uri" /tmp/copy.img
}

serve() {
  local before job deadline
  before=$(installed_mb)
  set -m  # a process group, to which the terminal would send the Ctrl-C
  make serve >"$log" 2>&1 &
  job=$!
  set +m
  deadline=$((SECONDS + serve_limit_s))
  until grep --quiet 'Ctrl-C ends it' "$log"; do
    if ! kill -0 "$job" 2>/dev/null || ((SECONDS >= deadline)); then
      tail -n 40 "$log" >&2
      fail 'make serve does not serve'
    fi
    sleep 0.5
  done
  say "make serve serves; it installed $(($(installed_mb) - before)) MB"
  ask
  kill -INT -- "-$job"
  deadline=$((SECONDS + stop_limit_s))
  while kill -0 -- "-$job" 2>/dev/null; do
    if ((SECONDS >= deadline)); then fail 'a Ctrl-C does not end make serve'; fi
    sleep 0.1
  done
  wait "$job" || true
  if compgen -G '/tmp/blockexport.*' >/dev/null; then fail 'make serve left its folder behind'; fi
  if [[ -n $(git status --porcelain --untracked-files=all | grep '^??' | grep --invert-match --line-regexp \
             --fixed-strings "$untracked_before") ]]; then
    git status --short >&2
    fail 'make serve left files in the checkout that .gitignore does not know'
  fi
  check_packages
  say 'a Ctrl-C ended it'
}

smoke() {
  tools/setup.sh build test >/tmp/setup.log 2>&1 || { tail -n 40 /tmp/setup.log >&2; fail 'setup.sh failed'; }
  say "the packages for tests are installed, $(installed_mb) MB in all"
  cmake --preset release >/tmp/configure.log 2>&1 || { tail -n 40 /tmp/configure.log >&2; fail 'cmake failed'; }
  cmake --build --preset release --target "${smoke_targets[@]}" | tail -n 40
  say 'built'
  ctest --preset release --tests-regex "$smoke_tests" --no-tests=error
  # And back again: the same tree serves both.
  make build >/tmp/build.log 2>&1 || { tail -n 40 /tmp/build.log >&2; fail 'make build failed after the tests'; }
}

untracked_before=$(git status --porcelain --untracked-files=all | grep '^??' || true)
case ${1:-} in
  smoke) serve; smoke ;;
  whole) serve; timeout "$test_limit_s" make test ;;
  *) echo "usage: tools/bare_machine_checks.sh smoke|whole" >&2; exit 2 ;;
esac
say 'all is well'
