#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What a fault asks costs the same for 1 GiB and for 1 TiB, and a pass of
# 1 TiB the same with 1, 64 and 256 GiB tagged, beyond what has changed: not 1
# but 4 GiB with 16K pages, 16 with 64K, which are as many blocks. Under
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

# pass_cost GIB FIELD: 1, 3: ns of a pass; 2, 4: blocks that it looks at
pass_cost() {
	dmesg | sed -n "s/.* $1 GiB tagged: a pass takes \([0-9]*\) ns and looks at \([0-9]*\) blocks, with changes \([0-9]*\) ns and \([0-9]*\) blocks.*/\\$2/p" |
		head -n 1
}

# no_more WHAT FIELD: for more memory, within 5 %
no_more() {
	_small=$(pass_cost $least "$2")
	for _gib in 64 256; do
		_large=$(pass_cost $_gib "$2")
		if [ -n "$_small" ] && [ -n "$_large" ] &&
			[ $((_large * 100)) -le $((_small * 105)) ]; then
			ktap_ok "$1: $_large with $_gib GiB tagged, $_small with $least GiB"
		else
			ktap_fail "$1" "${_large:-nothing} with $_gib GiB tagged, ${_small:-nothing} with $least GiB"
		fi
	done
}

least=$(($(./mts_tool page) / 4096))
ktap_plan 17
check "the KUnit module loads" insmod /lib/modules/mte_tag_storage_kunit.ko
if dmesg | grep -q '\] ok [0-9]* mts_scale$'; then
	ktap_ok "its suite passes"
else
	ktap_fail "its suite passes" "$(dmesg | grep mts_scale | tail -n 1)"
fi
if dmesg | grep -q '\] ok [0-9]* mts_pass$'; then
	ktap_ok "so does the one of passes"
else
	ktap_fail "so does the one of passes" "$(dmesg | grep mts_pass | tail -n 1)"
fi
constant "a test of a page" 1
constant "a note of a free page" 2
constant "to find one" 3
no_more "ns of a pass" 1
no_more "blocks that it looks at" 2
no_more "ns of a pass when 64 blocks have changed" 3
no_more "blocks that it looks at then" 4
ktap_done
