#!/bin/sh
# Finds out what this machine lacks and installs it with apt when it can.
#
#   tools/setup.sh build    what ./demo needs
#   tools/setup.sh check    what ./check needs as well
#   tools/setup.sh full     what ./check --full needs as well
#
# Says one line when it installs something and nothing when all is there. When it
# cannot install, names the missing packages and the command, and exits 1.
set -u

want=${1:-build}
log=${TMPDIR:-/tmp}/cygnet-setup.log
missing=

need() { # PACKAGE PROBE...
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

has_command() {
    for name in "$@"; do
        command -v "$name" >/dev/null 2>&1 && return 0
    done
    return 1
}

has_pc() { # a library by its pkg-config name; pkg-config itself may be missing
    if has_command pkg-config; then
        pkg-config --exists "$1"
        return
    fi
    for file in /usr/lib/pkgconfig /usr/lib/*/pkgconfig /usr/share/pkgconfig; do
        [ -e "$file/$1.pc" ] && return 0
    done
    return 1
}

has_header() {
    if has_command cc; then
        printf '#include <%s>\n' "$1" | cc -E -x c - && return 0
    fi
    [ -e "/usr/include/$1" ]
}

has_meson() { # 1.0 or later
    version=$(meson --version) || return 1
    [ "${version%%.*}" -ge 1 ]
}

has_python_module() {
    python=/usr/bin/python3
    [ -x "$python" ] || python=python3
    "$python" -c "import $1"
}

has_clang_format_14() {
    has_command clang-format-14 && return 0
    clang-format --version | grep -q 'version 14\.'
}

probe() {
    missing=
    need gcc has_command cc
    need g++ has_command c++
    need libc6-dev has_header stdio.h
    need pkg-config has_command pkg-config
    need python3 has_command python3
    need meson has_meson
    need ninja-build has_command ninja ninja-build samu
    need libcurl4-openssl-dev has_pc libcurl
    need libmbedtls-dev has_header mbedtls/sha256.h
    need libcjson-dev has_pc libcjson
    need libzstd-dev has_pc libzstd
    need libmicrohttpd-dev has_pc libmicrohttpd
    need libsqlite3-dev has_pc sqlite3
    need zlib1g-dev has_pc zlib
    [ "$want" = build ] && return
    need binutils has_command nm
    need libcmocka-dev has_pc cmocka
    need musl-tools has_command musl-gcc
    need python3-pytest has_python_module pytest
    need python3-grpcio has_python_module grpc
    need openssl has_command openssl
    [ "$want" = check ] && return
    need clang has_command clang
    need clang-tidy has_command clang-tidy
    need valgrind has_command valgrind
}

stop() {
    echo "setup: $1" >&2
    echo "setup: missing:$missing" >&2
    echo "setup: install them, for instance with: apt-get install --no-install-recommends$missing" >&2
    exit 1
}

as_root() {
    $root env DEBIAN_FRONTEND=noninteractive "$@" >>"$log" 2>&1 </dev/null
}

# The word that makes a command run as root ("" for root itself).
find_root() {
    if [ "$(id -u)" -eq 0 ]; then
        root=
    elif has_command sudo && sudo -n true 2>/dev/null; then
        root="sudo -n"
    elif has_command sudo && [ -t 0 ]; then
        echo "setup: sudo may ask for your password to install packages"
        sudo -v || return 1
        root="sudo -n"
    else
        return 1
    fi
}

# $packages is a list on purpose in the functions below: no quotes.
install() {
    packages=$1
    # shellcheck disable=SC2086
    as_root apt-get install -y -q --no-install-recommends \
        -o DPkg::Lock::Timeout=300 $packages
}

update() {
    echo "setup: apt-get update"
    as_root apt-get update -q -o DPkg::Lock::Timeout=300
}

known() { # does apt know each of these packages?
    # shellcheck disable=SC2086
    apt-cache show --no-all-versions $1 >/dev/null 2>&1
}

# The format check wants exactly this version: others format differently. Debian
# 12 and Ubuntu 24.04 have it; where it is not to be had the check is skipped.
want_clang_format() {
    [ "$want" = build ] && return
    has_clang_format_14 2>/dev/null && return
    has_command apt-get && find_root || return
    known clang-format-14 || return
    echo "setup: installing clang-format-14"
    install clang-format-14 || echo "setup: clang-format-14 could not be installed"
}

# What the stage arm64 needs: nothing here is forced on the machine. Where it is not
# to be had, or would push out another package, that stage says so.
want_arm64() {
    [ "$want" = build ] && return
    missing=
    need gcc-aarch64-linux-gnu has_command aarch64-linux-gnu-gcc
    need libc6-dev-arm64-cross [ -e /usr/aarch64-linux-gnu/include/stdio.h ]
    need qemu-user has_command qemu-aarch64
    if [ -n "$missing" ] && has_command apt-get && find_root; then
        known "$missing" || update
        echo "setup: installing$missing"
        install "--no-remove$missing" ||
            echo "setup: could not install$missing (log: $log): no stage arm64"
    fi
    tools/arm64_sysroot.sh || echo "setup: no libraries for the stage arm64"
}

probe
if [ -n "$missing" ]; then
    has_command apt-get || stop "this machine has no apt-get"
    find_root || stop "not root and sudo is not available"
    : >"$log"
    known "$missing" || update || {
        tail -n 5 "$log" >&2
        stop "apt-get update failed (log: $log)"
    }
    echo "setup: installing$missing"
    install "$missing" || { update && install "$missing"; } || {
        tail -n 5 "$log" >&2
        stop "apt-get install failed (log: $log)"
    }
    probe
    [ -z "$missing" ] || stop "still missing after apt-get install (log: $log)"
fi
want_clang_format
want_arm64
exit 0
