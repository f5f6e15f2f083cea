#!/bin/bash
# Builds the Debian packages or the container image of the work tree, committed or not, into build-package:
# tools/package.sh debian    the .deb files, and what lintian says about them: an error of it is a failure
# tools/package.sh image     blockexportd-image.tar, for `podman load` and `docker load`
# tools/package.sh check     as root, on a machine that may be thrown away: installs the packages and runs debian/tests
set -euo pipefail
cd "$(dirname "$0")/.."
output=$PWD/build-package

# dh gives each build a home of its own, in which ccache would find nothing.
if command -v ccache >/dev/null; then CCACHE_DIR=${CCACHE_DIR:-$(ccache --get-config cache_dir)}; fi
export CCACHE_DIR

copy_sources() {
  rm -rf "$1"
  mkdir -p "$1"
  git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' name; do if [[ -e $name || -L $name ]]; then printf '%s\0' "$name"; fi; done |
    tar --create --null --no-recursion --files-from=- | tar --extract --no-same-owner --directory="$1"
}

build_packages() {
  local sources=$output/sources/blockexport
  copy_sources "$sources"
  rm -f "$output"/*.deb
  (cd "$sources" && dpkg-buildpackage --build=binary --no-sign) >"$output/build.log" 2>&1 ||
    { tail -n 40 "$output/build.log" >&2; echo "package: the build failed: $output/build.log" >&2; exit 1; }
  mv "$output"/sources/*.{deb,changes,buildinfo} "$output/"
  rm -rf "$output/sources"
  lintian --fail-on error --tag-display-limit 0 "$output"/*.changes
  ls -l "$output"/*.deb
}

build_image() {
  test -e build/build.ninja || cmake --preset programs
  cmake --build --preset release --target blockexportd blockexport
  rm -rf "$output/root"
  mkdir -p "$output"
  packaging/container/make_root.sh build "$output/root"
  tools/image_file.py "$output/root" "$output/blockexportd-image.tar"
  rm -rf "$output/root"
}

check_packages() {
  local test
  local quietly=(--option=Dpkg::Use-Pty=0 --quiet=2 --yes)
  apt-get install "${quietly[@]}" --no-install-recommends "$output"/*.deb libnbd-bin fio qemu-utils curl man-db \
    </dev/null
  for test in clients manual service; do
    echo "=== $test"
    debian/tests/$test
  done
  apt-get remove "${quietly[@]}" --purge blockexport blockexport-client blockexport-doc </dev/null
  if [[ -e /usr/bin/blockexportd ]]; then echo 'package: the daemon is still there' >&2; exit 1; fi
}

mkdir -p "$output"
case ${1:-} in
  debian) build_packages ;;
  image) build_image ;;
  check) check_packages ;;
  *) echo "usage: tools/package.sh debian|image|check" >&2; exit 2 ;;
esac
