#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Another kernel starts by kexec while tag storage is full of data: the module
# takes all of it back first. The other kernel then runs the tests, with the
# module online, and its results count.
#
# usage: kexec TEST [ARG ...]	what the other kernel runs

. ./lib.sh
. ./hold

fail() {
	ktap_plan 1
	ktap_fail "kexec" "$1"
	ktap_done
}

[ -f /boot/Image ] || fail "no /boot/Image"
mts_load || fail "the module doesn't load"
hold_start 5 fill || fail "no data gets into tag storage"
[ "$(mts_state)" = online ] || fail "not online"
test=$1
shift
line=$(sed "s/mts\.run=[^ ]*/mts.run=$test/; s/mts\.args=[^ ]*/mts.args=$(echo "$*" | tr ' ' ,)/" /proc/cmdline)
./mts_tool kexec /boot/Image /boot/initramfs "$line earlycon=pl011,0x9000000" 2>/tmp/kexec.out
fail "$(cat /tmp/kexec.out)"
