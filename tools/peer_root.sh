#!/bin/bash
# The newest peers that Debian has, run on this host without being installed: tools/peer_root.sh [--cached|--fresh]
# Prints a folder with the commands qemu-storage-daemon, qemu-img, qemu-io (from trixie-backports), nbdkit, nbdinfo,
# nbdcopy and nbd-server (from sid), and VERSIONS, which says what they are. They are downloaded once, by an apt of
# their own that changes nothing of the system and needs no root. They start with the C library of their own release,
# whose path is written into them.
# --cached: only what an earlier run has fetched; exit code 3 when there is nothing. --fresh: fetch anew.
# Exit code 3: they cannot be had here; standard error says why.
set -euo pipefail
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/debian_mirror.sh
source "$tools/debian_mirror.sh"

download_limit_s=300
lock_limit_s=600

say_no() {
  echo "peer_root: the newest peers cannot be had: $1" >&2
  exit 3
}

mode=${1:-}
case $mode in
  '' | --cached | --fresh) ;;
  *) echo "usage: tools/peer_root.sh [--cached|--fresh]" >&2; exit 2 ;;
esac
home=$(cache_folder)/peers
if [[ $mode == --cached && ! -s $home/bin/VERSIONS ]]; then
  say_no "none were downloaded before (tools/peer_root.sh does it)"
fi

# fetch ROOT "SUITE..." PACKAGE...: puts the files of the packages, and of all that they depend on, into a new ROOT.
fetch() {
  local root=$1 suites=$2 suite option apt
  shift 2
  apt=$root.apt
  mkdir -p "$root" "$apt/lists/partial" "$apt/archives/partial" "$apt/none"
  : >"$apt/status"
  for suite in $suites; do debian_source "$mirror" "$suite"; done >"$apt/sources.list"
  local options=(Dir::Etc::SourceList="$apt/sources.list" Dir::Etc::SourceParts="$apt/none"
                 Dir::Etc::PreferencesParts="$apt/none" Dir::State="$apt" Dir::State::status="$apt/status"
                 Dir::Cache="$apt" Dir::Cache::archives="$apt/archives" APT::Install-Recommends=false
                 APT::Sandbox::User="" Acquire::Languages=none Acquire::Check-Valid-Until=false
                 Acquire::Retries=1 Acquire::http::Timeout=30)
  local command=(timeout "$download_limit_s" apt-get --quiet=2)
  for option in "${options[@]}"; do command+=(--option "$option"); done
  "${command[@]}" update </dev/null >&2
  "${command[@]}" install --yes --download-only "$@" </dev/null >&2
  for package in "$apt"/archives/*.deb; do dpkg-deb --extract "$package" "$root"; done
  note_versions "$apt"/archives
  rm -rf "$apt"
}

note_versions() {
  local package
  for package in "$1"/{qemu-system-common,nbdkit,libnbd-bin,nbd-server}_*.deb; do
    [[ -e $package ]] || continue
    dpkg-deb --show --showformat='${Package} ${Version}\n' "$package" >>"$new/bin/VERSIONS"
  done
}

# library_path ROOT [here]: all folders of ROOT that hold libraries, as they will be named, or (here) as they are now.
library_path() {
  find "$1/usr/lib" "$1/lib" -maxdepth 2 -name '*.so*' -printf '%h\n' 2>/dev/null | sort -u |
    if [[ ${2:-} == here ]]; then cat; else sed "s|^$new|$home|"; fi | paste -sd:
}

loader_of() {
  find "$1/usr/lib64" "$1/usr/lib" "$1/lib" -name 'ld-linux*.so*' -print -quit 2>/dev/null
}

# give ROOT PATH: makes bin/NAME, which is PATH of ROOT with ROOT's own loader and libraries, wherever it is started.
give() {
  local root=$1 path=$2 name loader patch=$new/qemu
  name=$(basename "$path")
  loader=$(loader_of "$root")
  [[ -x $root/$path && -n $loader ]] || { echo "peer_root: $path is not in what was downloaded" >&2; exit 1; }
  "$(loader_of "$patch")" --library-path "$(library_path "$patch" here)" "$patch/usr/bin/patchelf" \
    --set-interpreter "${loader/#$new/$home}" --force-rpath --set-rpath "$(library_path "$root")" "$root/$path"
  if [[ $name != nbdkit ]]; then
    ln --symbolic "../${root#"$new/"}/$path" "$new/bin/$name"
    return
  fi
  {
    echo '#!/bin/sh'
    nbdkit_plugins "$root"
    printf 'exec "%s" "$@"\n' "${root/#$new/$home}/$path"
  } >"$new/bin/$name"
  chmod 755 "$new/bin/$name"
}

# nbdkit has the folders of its plugins and filters compiled in; there may be those of another nbdkit.
nbdkit_plugins() {
  local folder
  folder=$(dirname "$(find "$1/usr/lib" -name nbdkit-file-plugin.so -print -quit)")
  cat <<END
previous= plugins='${folder/#$new/$home}' filters='${folder/#$new/$home}/../filters'
for word do
  shift
  case \$previous in -[DegimMpPtuUW]) is_value=yes ;; *) is_value= ;; esac
  previous=\$word
  if [ -z "\$is_value" ]; then
    case \$word in
      */*) ;;
      --filter=*) word="--filter=\$filters/nbdkit-\${word#--filter=}-filter.so" ;;
      *) if [ -e "\$plugins/nbdkit-\$word-plugin.so" ]; then word="\$plugins/nbdkit-\$word-plugin.so"; fi ;;
    esac
  fi
  set -- "\$@" "\$word"
done
END
}

make_roots() {
  rm -rf "$new"
  mkdir -p "$new/bin"
  fetch "$new/qemu" 'trixie trixie-backports' qemu-system-common/trixie-backports qemu-utils/trixie-backports patchelf
  fetch "$new/nbd" sid nbdkit libnbd-bin nbd-server
  for program in qemu-storage-daemon qemu-img qemu-io; do give "$new/qemu" "usr/bin/$program"; done
  for program in nbdkit nbdinfo nbdcopy nbd-server; do give "$new/nbd" "usr/bin/$program"; done
}

mkdir -p "$home"
exec 9>"$home.lock"
flock --wait "$lock_limit_s" 9 || say_no "another run holds $home.lock"
if [[ $mode == --fresh || ! -s $home/bin/VERSIONS ]]; then
  mirror=$(debian_mirror) || say_no "this host's apt has no Debian mirror"
  new=$home.new
  trap 'rm -rf "$new"' EXIT
  # In a shell of its own, where any failing command ends it; a condition would switch that off.
  ended=0
  set +e
  (set -e; make_roots)
  ended=$?
  set -e
  ((ended == 0)) || say_no "apt or the mirror refused (the lines above say what)"
  rm -rf "$home"
  mv "$new" "$home"
fi
printf '%s\n' "$home/bin"
