#!/bin/bash
# Makes the root of a container with both programs and what they need, and nothing else: no shell, no package manager.
# packaging/container/make_root.sh BUILD ROOT: takes them from an installation of BUILD, and the libraries of this host.
set -euo pipefail
build=$1 root=$2
user=65532

[[ ! -e $root ]] || { echo "make_root: $root exists" >&2; exit 1; }
mkdir -p "$root"
for component in daemon client; do
  DESTDIR=$root cmake --install "$build" --prefix /usr --component "$component" --strip >/dev/null
done
rm -rf "$root/usr/share"

# The libraries under the names by which the programs ask for them; libnss_files is in libc. PAM is not there.
copy_libraries() {
  ldd "$1" | sed --quiet --regexp-extended 's/^\s*(\S+ => )?(\/\S+) \(0x.*$/\2/p' | while read -r library; do
    install -D --mode=755 "$(readlink --canonicalize "$library")" "$root$library"
  done
}
for program in "$root"/usr/bin/*; do copy_libraries "$program"; done

mkdir -p "$root"/{etc/blockexport/{conf.d,exports.d},run/blockexport,var/lib/blockexport,images,tmp,proc,dev,sys}
echo "blockexport:x:$user:$user::/var/lib/blockexport:/nonexistent" >"$root/etc/passwd"
echo "blockexport:x:$user:" >"$root/etc/group"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
chmod 1777 "$root/tmp"
if [[ -d /usr/share/zoneinfo/Etc ]]; then install -D --mode=644 /usr/share/zoneinfo/Etc/UTC "$root/etc/localtime"; fi
cp packaging/container/blockexport.toml "$root/etc/blockexport/blockexport.toml"
if ((EUID == 0)); then chown --recursive "$user:$user" "$root/run/blockexport" "$root/var/lib/blockexport"; fi
# Sockets and state are the only things that are written; both may be volumes.
chmod 0750 "$root/run/blockexport"
chmod 0700 "$root/var/lib/blockexport"
