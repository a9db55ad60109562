#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What a fault asks of the books costs the same for 1 GiB and for 1 TiB. Under
# -icount a nanosecond is an instruction: 2 % more is more work.

. ./lib.sh

if [ ! -e /lib/modules/mte_tag_storage_kunit.ko ]; then
	ktap_plan 1
	ktap_skip "scale" "no mte_tag_storage_kunit.ko"
	ktap_done
fi

# cost GIB FIELD
cost() {
	dmesg | sed -n "s/.* $1 GiB: a test takes \([0-9]*\) ns, a note of a free page \([0-9]*\) ns, to find it \([0-9]*\) ns.*/\\$2/p" |
		head -n 1
}

# constant WHAT FIELD
constant() {
	_small=$(cost 1 "$2")
	for _gib in 64 1024; do
		_large=$(cost $_gib "$2")
		if [ -n "$_small" ] && [ -n "$_large" ] &&
			[ $((_large * 100)) -le $((_small * 102)) ]; then
			ktap_ok "$1: $_large ns for $_gib GiB, $_small ns for 1 GiB"
		else
			ktap_fail "$1" "${_large:-nothing} ns for $_gib GiB, ${_small:-nothing} ns for 1 GiB"
		fi
	done
}

ktap_plan 8
check "the KUnit module loads" insmod /lib/modules/mte_tag_storage_kunit.ko
if dmesg | grep -q '\] ok [0-9]* mts_scale$'; then
	ktap_ok "its suite passes"
else
	ktap_fail "its suite passes" "$(dmesg | grep mts_scale | tail -n 1)"
fi
constant "a test of a page" 1
constant "a note of a free page" 2
constant "to find one" 3
ktap_done
