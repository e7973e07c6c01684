#!/bin/sh
# Fetches the libraries that the engine's tests need on 64-bit ARM into
# build-arm64/sysroot, and writes build-arm64/arm64.ini of tools/arm64.ini.in. The
# packages are unpacked there and never installed: apt works on folders of its own
# here, so neither the machine's packages nor its list of architectures change, and
# root is not needed.
#
# Says one line when it fetches something and nothing when all is there. Exits 1
# when apt's sources do not have the packages; build-arm64/sysroot.log says more.
set -u
cd "$(dirname "$0")/.." || exit 1

sysroot=$PWD/build-arm64/sysroot
log=$sysroot.log
work=$sysroot.apt
packages="libcjson-dev libcmocka-dev libmbedtls-dev"

apt() {
    apt-get -q -o APT::Architecture=arm64 -o APT::Architectures::=arm64 \
        -o APT::Sandbox::User=root -o Acquire::Languages=none \
        -o Dir::State="$work" -o Dir::State::lists="$work/lists" \
        -o Dir::State::status="$work/status" -o Dir::Cache="$work" \
        -o Dir::Cache::archives="$work/archives" "$@" >>"$log" 2>&1 </dev/null
}

# The shared libraries that development packages ask for in their own version.
companions() {
    for deb in "$work"/debs/*.deb; do
        dpkg-deb -f "$deb" Depends
    done | tr ',' '\n' | sed -n 's/^ *\([^ ]*\) (= .*/\1/p' | sort -u
}

# $packages and companions are lists on purpose: no quotes.
# shellcheck disable=SC2046,SC2086
fetch() {
    cd "$work/debs" && apt download $packages && apt download $(companions)
}

mkdir -p build-arm64
sed "s|@ROOT@|$PWD|" tools/arm64.ini.in >build-arm64/arm64.ini || exit 1
[ -e "$sysroot/.done" ] && exit 0
echo "setup: fetching arm64 libraries"
rm -rf "$sysroot" "$work"
mkdir -p "$sysroot" "$work/lists/partial" "$work/archives/partial" "$work/debs"
: >"$work/status"
: >"$log"
apt update # may fail in part: some sources have no arm64 packages
(fetch) || exit 1
for deb in "$work"/debs/*.deb; do
    dpkg-deb -x "$deb" "$sysroot" >>"$log" 2>&1 || exit 1
done
rm -rf "$work"
touch "$sysroot/.done"
