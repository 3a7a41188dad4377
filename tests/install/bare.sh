#!/bin/bash
# A stranger's first hour: the commands of this project in a bare Debian root that has only make,
# g++ and python3, as a user (who has no apt) and as root (who has).
#
#   tests/install/bare.sh [FOLDER]
#
# Needs root, debootstrap, git and the network, and some 5 GB under FOLDER (default: a temporary
# one). A FOLDER that is given is kept: `FOLDER/pristine` is used again by the next run. What is
# tested is the working tree as git would clone it, with changes not yet committed. Not a part of
# `make test`: it takes about as long as five of them.
set -euo pipefail

suite=bookworm
source=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-}
if [ -z "$folder" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf --one-file-system "$folder"' EXIT
fi
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
pristine=$folder/pristine
bare=$folder/bare
user=1000

# The words of pip's configuration that are folders here: wheels, and indexes with their files.
pip_folders() {
  { python3 -m pip config list 2>/dev/null || true; env | grep '^PIP_' || true; } |
    grep -oE "/[^ '\"]+" | sort -u | while read -r path; do
      if [ -d "$path" ]; then echo "${path%/simple}"; fi
    done
}

make_pristine() {
  debootstrap --variant=minbase --include=make,g++,python3 "$suite" "$pristine.part"
  chroot "$pristine.part" useradd --uid $user --create-home user
  mv "$pristine.part" "$pristine"
}

# Where this machine's apt and pip find packages, those of the bare root do too.
copy_registries() {
  cp -aL /etc/resolv.conf /etc/hosts "$bare/etc/"
  rm -rf "$bare/etc/apt/sources.list"
  cp -a /etc/apt/sources.list* /etc/apt/apt.conf.d "$bare/etc/apt/"
  mkdir -p "$bare/etc/xdg/pip"
  if [ -f /etc/pip.conf ]; then cp /etc/pip.conf "$bare/etc/"; fi
  if [ -f ~/.config/pip/pip.conf ]; then cp ~/.config/pip/pip.conf "$bare/etc/xdg/pip/"; fi
  # Under a name of its own, because apt may install the package that owns the usual one.
  local certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
  if [ -f "$certificates" ]; then cp -L "$certificates" "$bare/etc/registries.pem"; fi
}

# inside UID COMMAND: in the bare root, with no environment but what pip is configured by. The
# mounts live in a namespace of their own and end with the command.
inside() {
  local uid=$1 command=$2 home=/root
  local -a environment=() mounts=()
  if [ "$uid" != 0 ]; then home=/home/user; fi
  if [ -f "$bare/etc/registries.pem" ]; then
    environment+=({PIP_CERT,SSL_CERT_FILE}=/etc/registries.pem)
  fi
  mapfile -t -O ${#environment[@]} environment < <(env | grep -E '^PIP_|_proxy=|_PROXY=' | grep -v CERT)
  mapfile -t mounts < <(pip_folders)
  unshare --mount bash -euc '
    bare=$1 uid=$2; shift 2
    while [ "$1" != -- ]; do
      mkdir -p "$bare$1"
      mount --rbind "$1" "$bare$1"
      shift
    done
    mount -t proc proc "$bare/proc"
    exec env -i "${@:3}" chroot --userspec="$uid:$uid" "$bare" /bin/sh -c "$2"
  ' bash "$bare" "$uid" /dev "${mounts[@]}" -- "cd ~/logsum && $command" \
    HOME=$home PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LC_ALL=C.UTF-8 CI=true "${environment[@]}" </dev/null
}

# fresh_tree UID: a new copy of the project in the home of that user.
fresh_tree() {
  local uid=$1 home=$bare/root
  if [ "$uid" != 0 ]; then home=$bare/home/user; fi
  rm -rf "$home/logsum"
  mkdir -p "$home/logsum"
  git -C "$source" ls-files -z --cached --others --exclude-standard |
    (cd "$source" && while IFS= read -r -d '' f; do [ ! -e "$f" ] || printf '%s\0' "$f"; done) |
    tar -C "$source" --null -T - -cf - | tar -C "$home/logsum" -xf - --no-same-owner
  chown -R "$uid:$uid" "$home/logsum"
}

# expect_success WHAT UID COMMAND
expect_success() {
  local what=$1 begin=$SECONDS
  echo "== $what"
  inside "$2" "$3"
  summary+="passed  $((SECONDS - begin)) s  $what"$'\n'
}

# expect_one_line WHAT UID COMMAND PATTERN: fails, and the one line that the project prints as it
# does matches the pattern.
expect_one_line() {
  local what=$1 begin=$SECONDS log=$folder/log.txt
  echo "== $what"
  if inside "$2" "$3" >"$log" 2>&1; then
    cat "$log"
    echo "expected a failure with a line that matches: $4"
    exit 1
  fi
  cat "$log"
  if [ "$(grep -cE "$4" "$log")" != 1 ] || grep -q Traceback "$log"; then
    echo "expected exactly one line that matches, and no traceback: $4"
    exit 1
  fi
  summary+="passed  $((SECONDS - begin)) s  $what"$'\n'
}

[ -d "$pristine" ] || make_pristine
rm -rf --one-file-system "$bare"
cp -a "$pristine" "$bare"
copy_registries
summary=

fresh_tree $user
expect_one_line "a user without venv is told what to install" $user "make test" \
  '^logsum: .*apt-get install python3-venv python3-dev$'

fresh_tree 0
expect_success "root: make test, everything from nothing" 0 "make test"
expect_success "root: make test again" 0 "make test"
expect_success "root: make tour" 0 "make tour"

fresh_tree $user
expect_success "a user, on what root installed, without PyTorch: make test" $user "make TORCH_SPEC= test"
expect_success "a user, without PyTorch: make tour" $user "make tour"

printf '\n%s' "$summary"
