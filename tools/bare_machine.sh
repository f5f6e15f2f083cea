#!/bin/bash
# Checks in bare Debian 12 and 13 that what README promises is so: tools/bare_machine.sh [OPTION] [bookworm] [trixie]
#   (none)          `make serve` with a client that asks and a Ctrl-C that ends it, then a part of the test suite
#   --whole         the same, with the whole test suite
#   --packages      `make package`, then the packages alone: installed, tested by debian/tests, and removed
#   --run COMMAND   a shell command in the checkout in such a machine, instead
# A bare machine is what debootstrap makes (minbase, make, git, ca-certificates): no /etc/hosts, no compiler, no client.
# It is made once and kept in the cache (BLOCKEXPORT_CACHE, tools/debian_mirror.sh), beside the packages that were
# downloaded; each run works in a layer over it, which goes away. Mounts and processes live in namespaces of the run, so
# they end with it however it ends. Root is needed. What is tested is the work tree, committed or not.
# One line per machine at the end: passed, FAILED, or left out and why. Exit code: 0; 1 if one failed; 77 if none ran.
set -euo pipefail
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/debian_mirror.sh
source "$tools/debian_mirror.sh"

make_limit_s=400
lock_limit_s=1200
checkout=/srv/blockexportd  # there

# --- Outside: the machine is made, and its layer; then this script starts itself within new namespaces.

fail() {
  echo "bare_machine: $1" >&2
  exit 1
}

# The reason why no machine can be made or run here; nothing if it can.
why_not() {
  if ((EUID != 0)); then
    echo "only root can make one"
  elif ! command -v debootstrap >/dev/null && ! has_machine bookworm trixie; then
    echo "debootstrap is not installed"
  elif ! debian_mirror >/dev/null; then
    echo "this host's apt has no Debian mirror"
  elif ! unshare --mount --pid --fork true 2>/dev/null; then
    echo "no mount and process namespaces can be made here"
  fi
}

has_machine() {
  local suite
  for suite in "$@"; do [[ -d $home/$suite/pristine ]] || return 1; done
}

make_machine() {
  local suite=$1 folder=$home/$1 proxy
  if has_machine "$suite"; then return 0; fi
  mkdir -p "$folder/archives"
  rm -rf "$folder/new"
  proxy=$(apt-config dump Acquire::http::Proxy --format '%v')
  if [[ -n $proxy ]]; then export http_proxy=$proxy; fi
  timeout "$make_limit_s" debootstrap --variant=minbase --include=make,git,ca-certificates \
    --cache-dir="$folder/archives" "$suite" "$folder/new" "$(debian_mirror)" >"$folder/debootstrap.log" 2>&1 ||
    { tail -n 5 "$folder/debootstrap.log" >&2; return 1; }
  mv "$folder/new" "$folder/pristine"
}

# Layers of runs that were ended by force.
remove_stale_layers() {
  local layer
  for layer in "$home"/layer.*; do
    if [[ -d $layer ]] && flock --nonblock "$layer/in_use" true; then rm -rf "$layer"; fi
  done
}

# The work tree as a clone: with its history, and with what is not committed yet.
copy_checkout() {
  local to=$1
  git clone --quiet --no-checkout --no-hardlinks "$tools/.." "$to"
  git -C "$to" reset --quiet
  git -C "$tools/.." ls-files -z --cached --others --exclude-standard |
    (cd "$tools/.." && while IFS= read -r -d '' name; do if [[ -e $name ]]; then printf '%s\0' "$name"; fi; done |
      tar --create --null --no-recursion --files-from=-) |
    tar --extract --no-same-owner --directory="$to"
}

# run_machine SUITE: everything that happens in one machine. Exit code 77: left out, and why in `left_out`.
run_machine() {
  local suite=$1 layer status=0
  left_out='debootstrap could not make it'
  make_machine "$suite" || return 77
  layer=$(mktemp --directory "$home/layer.XXXXXX")
  exec 8>"$layer/in_use"
  flock 8
  mkdir "$layer"/{upper,work,mounted}
  copy_checkout "$layer/checkout"
  # setpriv: it ends too when this shell is killed. Process 1 of the namespace ends everything in it.
  BARE_MIRROR=$(debian_mirror) BARE_SECURITY=$(debian_mirror Debian-Security || true) \
    setpriv --pdeathsig KILL env --default-signal=INT,QUIT unshare --mount --pid --ipc --uts --fork --kill-child \
    "$tools/bare_machine.sh" --within "$suite" "$layer" "$home/$suite" "$(compiler_cache)" "$command" </dev/null 8>&- &
  running=$!
  wait "$running" || status=$?
  running=
  left_out=$(cat "$layer/left_out" 2>/dev/null || true)
  rm -rf "$layer"
  return "$status"
}

compiler_cache() {
  if command -v ccache >/dev/null; then ccache --get-config cache_dir; else echo "$home/ccache"; fi
}

finish() {
  trap '' INT TERM HUP
  if [[ -n $running ]]; then
    kill -KILL "$running" 2>/dev/null || true
    wait "$running" 2>/dev/null || true
  fi
  exec 8>&-  # the lock of this run's layer
  remove_stale_layers
}

# --- Within: process 1 of the machine, in its own mount namespace.

within() {
  local suite=$1 layer=$2 machine=$3 compiler_cache=$4 command=$5 root=$2/mounted
  mount --make-rprivate /
  local layers=lowerdir=$machine/pristine,upperdir=$layer/upper,workdir=$layer/work
  if ! mount -t overlay overlay --options "$layers" "$root" 2>/dev/null; then
    cp --archive "$machine/pristine/." "$root"
  fi
  mkdir -p "$root$checkout" "$root/ccache" "$compiler_cache"
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs tmpfs "$root/run"
  mount --bind "$layer/checkout" "$root$checkout"
  mount --bind "$machine/archives" "$root/var/cache/apt/archives"
  mount --bind "$compiler_cache" "$root/ccache"
  hostname bare
  set_up_apt "$suite" "$root"
  if ! in_root apt-get update --quiet=2; then
    echo 'its apt cannot reach the mirror' >"$layer/left_out"
    exit 77
  fi
  in_root bash -c "cd $checkout && $command"
}

in_root() {
  chroot "$root" env --ignore-environment HOME=/srv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 TERM=dumb CCACHE_DIR=/ccache "$@"
}

set_up_apt() {
  local suite=$1 to=$2/etc/apt certificate
  debian_source "$BARE_MIRROR" "$suite" >"$to/sources.list"
  if [[ -n $BARE_SECURITY ]]; then debian_source "$BARE_SECURITY" "$suite-security" >>"$to/sources.list"; fi
  apt_access >"$to/apt.conf.d/90mirror"
  # Certificates that it names, and those that were added to the system's.
  apt_access | sed --quiet 's/.*::CaInfo "\(\/.*\)";$/\1/p' | while read -r certificate; do
    install -D --mode=644 "$certificate" "$2$certificate"
  done
  if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
    cp /usr/local/share/ca-certificates/*.crt "$2/usr/local/share/ca-certificates/"
    in_root update-ca-certificates >/dev/null
  fi
  cp --dereference /etc/resolv.conf "$2/etc/resolv.conf" 2>/dev/null || true
}

if [[ ${1:-} == --within ]]; then
  shift
  within "$@"
  exit
fi

command='tools/bare_machine_checks.sh smoke'
suites=()
while (($# > 0)); do
  case $1 in
    --whole) command='tools/bare_machine_checks.sh whole' ;;
    --packages) command='make package && tools/package.sh check' ;;
    --run) command=${2:?--run needs a command}; shift ;;
    bookworm | trixie) suites+=("$1") ;;
    *) echo "usage: tools/bare_machine.sh [--whole | --packages | --run COMMAND] [bookworm] [trixie]" >&2; exit 2 ;;
  esac
  shift
done
if ((${#suites[@]} == 0)); then suites=(bookworm trixie); fi

home=$(cache_folder)/machines
running=
reason=$(why_not)
if [[ -n $reason ]]; then
  printf 'bare_machine: %s left out: '"$reason"'\n' "${suites[@]}"
  exit 77
fi
mkdir -p "$home"
exec 9>"$home/lock"
flock --wait "$lock_limit_s" 9 || fail "another run holds $home/lock"
trap finish EXIT
trap 'exit 130' INT TERM HUP
remove_stale_layers

lines=()
failed=0 ran=0
for suite in "${suites[@]}"; do
  started=$SECONDS status=0
  echo "=== $suite: $command"
  run_machine "$suite" || status=$?
  case $status in
    0) lines+=("$suite passed in $((SECONDS - started)) s"); ran=1 ;;
    77) lines+=("$suite left out: ${left_out:-a command in it said so}") ;;
    *) lines+=("$suite FAILED after $((SECONDS - started)) s"); ran=1 failed=1 ;;
  esac
done
printf 'bare_machine: %s\n' "${lines[@]}"
if ((failed)); then exit 1; elif ((ran)); then exit 0; else exit 77; fi
