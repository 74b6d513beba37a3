#!/usr/bin/env bash
# Installs what is missing of what is named, on Debian and Ubuntu by apt (as root, or by sudo), and
# of the Rust tools by rustup. Does nothing, and needs no network, when all is there.
#
#   scripts/setup.sh cc redis-server nutcracker haproxy rustfmt clippy
set -eu

say() { echo "setup: $*" >&2; }

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    say "this has to run as root, and there is no sudo: $*"
    exit 1
  fi
}

# Installs a package without leaving its service behind. Its installation would start a server on
# 6379 (or another well-known port) and have it start at every boot; only the program is wanted.
# RUNLEVEL=1 makes invoke-rc.d believe in a single-user system, where nothing is started; it is not
# asked where systemd runs, so there, and wherever else something was started all the same, the
# service is stopped and disabled afterwards. The package was not there before, so no service of
# that name can be somebody's own. A policy-rc.d would do too, but it is a file that others own.
install() {
  local package=$1
  if ! command -v apt-get >/dev/null; then
    say "$package is missing, and there is no apt-get to install it; please install it"
    exit 1
  fi
  say "installing $package"
  # Lists may be missing (containers) or too old for what the mirror still has.
  as_root apt-get update -qq
  as_root env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "$package" >/dev/null
  if [ -d /run/systemd/system ]; then
    if [ -e "/lib/systemd/system/$package.service" ]; then
      as_root systemctl --quiet disable --now "$package.service"
    fi
  elif [ -x "/etc/init.d/$package" ]; then
    as_root "/etc/init.d/$package" stop >/dev/null 2>&1 || true
    as_root update-rc.d "$package" disable >/dev/null 2>&1 || true
  fi
}

has() { command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ]; }

# The subcommand answers: a proxy of rustup's exists also for a component that does not.
has_cargo() { cargo "$1" --version >/dev/null 2>&1; }

component() {
  if ! command -v rustup >/dev/null; then
    say "$1 is missing, and there is no rustup to add it; please install it"
    exit 1
  fi
  say "adding $1"
  rustup component add "$1"
}

if ! command -v cargo >/dev/null; then
  say "there is no cargo; Rust comes from https://rustup.rs"
  exit 1
fi

for tool in "$@"; do
  case $tool in
    # Rust links by the C compiler, and does not bring one.
    cc) has cc || install build-essential ;;
    # The server to test against may be another one; redis-cli is for the person at the demo.
    redis-server)
      [ -n "${SLOTWAY_TEST_SERVER:-}" ] || has redis-server || install redis-server
      ;;
    nutcracker | haproxy) has "$tool" || install "$tool" ;;
    rustfmt) has_cargo fmt || component rustfmt ;;
    clippy) has_cargo clippy || component clippy ;;
    *)
      say "it does not know how to install $tool"
      exit 1
      ;;
  esac
done
