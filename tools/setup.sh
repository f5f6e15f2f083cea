#!/bin/bash
# Installs from Debian (12 or 13) the packages that a purpose needs:
# tools/setup.sh [build] [test] [lint] [bench] [profile]
# Asks dpkg first: when all is there, nothing is installed, nothing runs as root and no network is used.
set -euo pipefail

build_packages=(clang-19 lld-19 libclang-rt-19-dev llvm-19 cmake ninja-build ccache pkgconf git python3
                liburing-dev libgnutls28-dev libfmt-dev libpam0g-dev libcli11-dev libgtest-dev libgmock-dev)
test_packages=(qemu-utils qemu-system-common nbdkit nbd-server nbd-client libnbd-bin python3-libnbd fio strace
               gnutls-bin e2fsprogs mount)
lint_packages=(clang-format-19 clang-tidy-19)
bench_packages=(libgnutls28-dev gnutls-bin)
profile_packages=(linux-perf)

wanted=()
for purpose in "${@:-build}"; do
  case $purpose in
    build) wanted+=("${build_packages[@]}") ;;
    test) wanted+=("${test_packages[@]}") ;;
    lint) wanted+=("${lint_packages[@]}") ;;
    bench) wanted+=("${bench_packages[@]}") ;;
    profile) wanted+=("${profile_packages[@]}") ;;
    *) echo "setup: unknown purpose '$purpose' (known: build, test, lint, bench, profile)" >&2; exit 2 ;;
  esac
done

if ! command -v dpkg-query >/dev/null; then
  echo "setup: this is not a Debian system; make sure of: ${wanted[*]}" >&2
  exit 0
fi

is_installed() {
  [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

missing=()
for package in "${wanted[@]}"; do
  is_installed "$package" || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "setup: packages are missing; run this as root, then try again:" >&2
    echo "  apt-get update && apt-get install --no-install-recommends --yes ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "setup: installing ${missing[*]}"
as_root+=(env DEBIAN_FRONTEND=noninteractive)
"${as_root[@]}" apt-get update --quiet </dev/null
"${as_root[@]}" apt-get install --quiet --yes --no-install-recommends "${missing[@]}" </dev/null
