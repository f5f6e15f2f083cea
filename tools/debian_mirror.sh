# Sourced by the tools that fetch Debian packages of another release than the host's.
# Everything comes from the mirror that the host's own apt uses, with its proxies and certificates; nothing here names
# a host. What is fetched is kept in a cache outside of the checkout: BLOCKEXPORT_CACHE, by default in the user's own.

# Prints the folder in which downloaded things are kept between runs.
cache_folder() {
  local base=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
  printf '%s\n' "${BLOCKEXPORT_CACHE:-${base:-/var/tmp/user-$EUID}/blockexportd}"
}

# debian_mirror [LABEL]: prints the URI of the archive with that label ("Debian", or "Debian-Security"), or fails.
debian_mirror() {
  local wanted=${1:-Debian} label uri
  command -v apt-get >/dev/null || return 1
  while IFS=' ' read -r label uri; do
    if [[ $label == "$wanted" ]]; then
      printf '%s\n' "${uri%/}"
      return 0
    fi
  done < <(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null)
  return 1
}

# Prints one line of a sources.list: debian_source MIRROR SUITE.
debian_source() {
  local key=/usr/share/keyrings/debian-archive-keyring.gpg signed=''
  if [[ -r $key ]]; then signed="[signed-by=$key] "; fi
  printf 'deb %s%s %s main\n' "$signed" "$1" "$2"
}

# Prints how the host's apt reaches its mirror, as lines for an apt.conf: proxies, certificates, dates that it takes.
apt_access() {
  apt-config dump | grep --extended-regexp '^Acquire::(http|https|ftp|Check-|Retries)' || true
}
