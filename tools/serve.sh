#!/bin/bash
# Exports one image on a unix socket and on loopback TCP, says how to reach it, and tidies up on Ctrl-C. The bytes of
# the file are exported as they are: of an image in another format than raw that is told before.
# Usage: tools/serve.sh PROGRAM, with IMAGE, SOCKET, PORT, EXPORT, WRITABLE in the environment (each may be empty).
# Without IMAGE a demo image of 64 MiB is made. An image of the caller's own is read-only unless WRITABLE=on.
set -euo pipefail

program=${1:?usage: tools/serve.sh PROGRAM}
image=${IMAGE:-}
name=${EXPORT:-disk}
start_limit_s=10

private=$(mktemp --directory "${XDG_RUNTIME_DIR:-/tmp}/blockexport.XXXXXX")
daemon=
finish() {
  trap '' INT TERM HUP
  if [[ -n $daemon ]]; then
    kill -TERM "$daemon" 2>/dev/null || true
    wait "$daemon" || true
  fi
  rm -rf "$private"
}
trap finish EXIT
trap 'exit 0' INT TERM HUP

# Text in the first and the last MiB and around the middle; all else is a hole.
make_demo_image() {
  local path=$1 place
  truncate --size=64M "$path"
  for place in 0 32 63; do
    awk -v place="$place" 'BEGIN { for (line = 0; line < 16384; line++)
      printf "%-63s\n", "blockexportd demo disk: MiB " place " line " line }' |
      dd of="$path" bs=1M seek="$place" conv=notrunc iflag=fullblock status=none
  done
}

is_port_taken() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# A comma inside a value is written twice in the options of the daemon.
quoted() {
  printf '%s' "${1//,/,,}"
}

# Text as a part of a URI; slashes may stay as they are.
in_uri() {
  local text=$1 result='' character place LC_ALL=C
  for ((place = 0; place < ${#text}; place++)); do
    character=${text:place:1}
    case $character in
      [A-Za-z0-9._~/-]) result+=$character ;;
      *) printf -v character '%%%02X' "'$character"; result+=$character ;;
    esac
  done
  printf '%s' "$result"
}

# bytes_at FILE OFFSET COUNT: so many bytes of a file as hexadecimal digits.
bytes_at() {
  od --address-radix=n --format=x1 --skip-bytes="$2" --read-bytes="$3" -- "$1" 2>/dev/null | tr -d ' \n'
}

# The format of an image by its magic numbers, where it is one that has some; nothing for raw ones.
detected_format() {
  local path=$1 start end size
  size=$(stat --dereference --format=%s -- "$path")
  start=$(bytes_at "$path" 0 64)
  end=
  if ((size >= 512)); then end=$(bytes_at "$path" $((size - 512)) 8); fi
  case $start in
    514649fb00000001*) echo qcow ;;
    514649fb*) echo qcow2 ;;
    4b444d56* | 434f5744* | 23204469736b2044657363726970746f7246696c65*) echo vmdk ;;
    7668647866696c65*) echo vhdx ;;
    636f6e6563746978*) echo vhd ;;
    51454400*) echo qed ;;
    4c554b53babe*) echo LUKS ;;
    576974686f757446726565537061636* | 576974686f75467265537061634578*) echo parallels ;;
    1f8b*) echo gzip ;;
    fd377a585a00*) echo xz ;;
    28b52ffd*) echo zstd ;;
    425a68??314159265359*) echo bzip2 ;;
    504b0304*) echo zip ;;
    *)
      if [[ $(bytes_at "$path" 64 4) == 7f10dabe ]]; then
        echo vdi
      elif [[ $end == 636f6e6563746978 ]]; then
        echo vhd
      elif [[ $end == 6b6f6c79* ]]; then
        echo dmg
      fi
      ;;
  esac
}

# A line for a shell, which may be copied.
converted_line() {
  local format=$1 path=$2 target
  target=$(basename -- "${path%.*}").raw
  case $format in
    gzip | xz | zstd | bzip2) printf '%q --decompress --stdout %q >%q' "$format" "$path" "$target" ;;
    zip) printf 'unzip %q' "$path" ;;
    LUKS)
      printf 'qemu-img convert --object secret,id=key,file=KEYFILE -O raw --image-opts '
      printf 'driver=luks,key-secret=key,file.filename=%q %q' "$path" "$target"
      ;;
    *) printf 'qemu-img convert -f %q -O raw %q %q' "$format" "$path" "$target" ;;
  esac
}

# Says what is about to be exported, and warns of an image that clients will not see as the disk that it holds.
announce() {
  local path=$1 writable=$2 format
  format=$(detected_format "$path")
  if [[ -z $format ]]; then
    echo "serve: about to export $path as a raw image (writable: $writable)"
    return
  fi
  echo "serve: about to export the bytes of $path, which is a file of the format $format (writable: $writable)"
  {
    echo "serve: warning: $path is no raw image: its format is $format."
    case $format in
      qcow2 | vdi | vhdx | vmdk | vhd | parallels)
        echo "  Clients will see the container, not the disk in it. To serve the disk:"
        [[ $format != vhd ]] || format=vpc
        printf '    build/blockexport serve --format %s %q\n' "$format" "$path"
        ;;
      *)
        echo "  Clients will see the container, not the disk in it. To serve the disk, convert it first:"
        echo "    $(converted_line "$format" "$path")"
        ;;
    esac
    if [[ $writable == on ]]; then
      echo "  WRITABLE=on: a client that writes to it as to a disk destroys the image."
    fi
  } >&2
}

# say_missing PACKAGE COMMAND...: names those of the commands shown that are not installed here.
say_missing() {
  local package=$1 command missing=()
  shift
  for command in "$@"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$command" >/dev/null || missing+=("$command")
  done
  if ((${#missing[@]} > 0)); then
    printf '\n  (not installed here: %s; Debian: apt install %s)' "${missing[*]}" "$package"
  fi
}

if [[ -z $image ]]; then
  image=$private/demo.img
  make_demo_image "$image"
  writable=${WRITABLE:-on}
else
  writable=${WRITABLE:-off}
fi
if [[ ! -r $image ]]; then
  echo "serve: cannot read $image" >&2
  exit 1
fi
socket=${SOCKET:-$private/nbd.sock}
port=${PORT:-}
if [[ -z $port ]]; then
  port=10809
  while is_port_taken "$port"; do port=$((port + 1)); done
fi
read_only=on
if [[ $writable == on ]]; then read_only=off; fi

announce "$image" "$writable"

"$program" \
  --pidfile "$private/pid" \
  --chardev "socket,id=control,path=$private/qmp.sock,server=on,wait=off" \
  --monitor chardev=control \
  --blockdev "driver=file,node-name=file,filename=$(quoted "$image"),read-only=$read_only,discard=unmap" \
  --blockdev "driver=raw,node-name=image,file=file,read-only=$read_only,discard=unmap" \
  --nbd-server "addr.type=unix,addr.path=$(quoted "$socket")" \
  --listen "type=inet,host=127.0.0.1,port=$port" \
  --export "type=nbd,id=image,node-name=image,name=$(quoted "$name"),writable=$writable" &
daemon=$!

# The pid file is written when every option has been carried out.
deadline=$((SECONDS + start_limit_s))
until [[ -s $private/pid ]]; do
  if ! kill -0 "$daemon" 2>/dev/null; then
    status=0
    wait "$daemon" || status=$?
    daemon=
    exit "$((status == 0 ? 1 : status))"
  fi
  if ((SECONDS >= deadline)); then
    echo "serve: $program did not start within $start_limit_s s" >&2
    exit 1
  fi
  sleep 0.05
done

unix_uri="nbd+unix:///$(in_uri "$name")?socket=$(in_uri "$socket")"
tcp_uri="nbd://127.0.0.1:$port/$(in_uri "$name")"
cat <<END

Exporting $image (writable: $writable) as "$name":
  $unix_uri
  $tcp_uri

Look at it, list its holes, copy it, compare it (from another terminal):
  nbdinfo '$unix_uri'
  nbdinfo --map '$tcp_uri'
  nbdcopy '$unix_uri' copy.img
  qemu-img info '$tcp_uri'
  qemu-img compare -f raw -F raw '$unix_uri' '$image'
  qemu-img convert -f raw -O qcow2 '$tcp_uri' copy.qcow2$(
  say_missing libnbd-bin nbdinfo nbdcopy
  say_missing qemu-utils qemu-img
)

As a block device of this machine (as root):
  nbd-client -l 127.0.0.1 $port
  nbd-client -N '$name' 127.0.0.1 $port /dev/nbd0
  nbd-client -d /dev/nbd0$(say_missing nbd-client nbd-client)

Control it (QMP):
  $private/qmp.sock

Ctrl-C ends it.
END

status=0
wait "$daemon" || status=$?
daemon=
exit "$status"
