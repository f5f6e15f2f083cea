#!/bin/bash
# Installs from Debian (12 or 13) the packages that a purpose needs:
# tools/setup.sh [build] [clients] [test] [sanitize] [lint] [bench] [profile] [machines] [manual] [package]
# Asks dpkg first: when all is there, nothing is installed, nothing runs as root and no network is used.
set -euo pipefail

# Both programs, and nothing else: what `make serve` makes a stranger install.
build_packages=(clang-19 lld-19 cmake ninja-build ccache pkgconf python3
                liburing-dev libgnutls28-dev nettle-dev libnbd-dev libfmt-dev libcli11-dev zlib1g-dev libdeflate-dev
                libzstd-dev libseccomp-dev libtomlplusplus-dev)
# Programs with which the README's tour looks at the exports.
clients_packages=(libnbd-bin qemu-utils)
test_packages=(libgtest-dev git qemu-utils qemu-system-common nbdkit nbd-server nbd-client libnbd-bin python3-libnbd
               fio strace gnutls-bin e2fsprogs mount libpam0g libpam-modules python3-libvhdi python3-libvmdk
               scdoc man-db zsh fish)
# The run-times of the sanitizers and of libFuzzer, and llvm-symbolizer for their reports.
sanitize_packages=(libclang-rt-19-dev llvm-19)
lint_packages=(git clang-format-19 clang-tidy-19)
bench_packages=(gnutls-bin python3-matplotlib)
profile_packages=(linux-perf)
# Other releases of Debian in folders of their own: tools/bare_machine.sh.
machines_packages=(debootstrap util-linux mount)
# Manual pages from the programs and from docs/manual.
manual_packages=(scdoc)
# To make and check the packages of debian/. dpkg-buildpackage asks for build-essential whatever the compiler.
package_packages=(build-essential debhelper lintian git)
purposes=(build clients test sanitize lint bench profile machines manual package)

wanted=()
for purpose in "${@:-build}"; do
  if [[ " ${purposes[*]} " != *" $purpose "* ]]; then
    echo "setup: unknown purpose '$purpose' (known: ${purposes[*]})" >&2
    exit 2
  fi
  declare -n packages=${purpose}_packages
  wanted+=("${packages[@]}")
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
