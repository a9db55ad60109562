#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What a machine in use needs is in sysfs: the numbers agree with the kernel's and
# add up, knobs and going offline work. Reads nothing of debugfs.
#
# usage: sysfs [off]	off: there must be no debugfs

. ./lib.sh
. ./hold

dir=/sys/kernel/mm/mte_tag_storage

val() {
	cat "$dir/$1"
}

put() {
	printf '%s' "$2" >"$dir/$1"
} 2>/dev/null

# Nothing may change meanwhile; what is on its way settles
adds_up() {
	[ "$(($(val static_bytes) + $(val reserved_bytes) + $(val released_bytes) +
		$(val bad_bytes)))" = "$(val carveout_bytes)" ] || return 1
	_sum=$(($(val released_used_bytes) + $(val released_free_bytes)))
	[ "$_sum" = "$(val released_bytes)" ]
}

# As the flags of all pages say, but for some that come and go
free_as_seen() {
	cat /proc/sys/vm/stat_refresh
	_seen=$(($(./mts_tool free) * $(./mts_tool page)))
	_said=$(val released_free_bytes)
	_diff=$((_seen - _said))
	[ "${_diff#-}" -le 524288 ] || {
		echo "free: $_said, by flags of pages $_seen"
		return 1
	}
}

memory_is_more() {
	[ "$(($(meminfo MemTotal) - total))" = \
		$((($(val carveout_bytes) - $(val static_bytes)) / 1024)) ]
}

# at_least FILE NUMBER, at_most FILE NUMBER
at_least() {
	[ "$(val "$1")" -ge "$2" ] || {
		echo "$1 is $(val "$1"), wanted $2 or more"
		return 1
	}
}

at_most() {
	[ "$(val "$1")" -le "$2" ] || {
		echo "$1 is $(val "$1"), wanted $2 at most"
		return 1
	}
}

shows() {
	[ "$(val "$1")" = "$2" ] || {
		echo "$1 is '$(val "$1")'"
		return 1
	}
}

# A knob is turned, and the preset tells
knob() {
	shows preset "[default] phone server debug changed" &&
		put release_delay_ms 300 && shows release_delay_ms 300 &&
		shows preset "default phone server debug [changed]" &&
		put preset server && shows release_delay_ms 5000 &&
		shows preset "default phone [server] debug changed" &&
		! put preset changed && ! put preset nonsense &&
		put preset default && shows release_delay_ms 2000
}

offline_fails() {
	put take_back_timeout_ms 200 && ! put state offline &&
		shows state "[online] offline" && shows drain_state failed &&
		shows drain_reason pinned && at_least drain_blocks_left 1
}

gone() {
	put state offline && shows state "online [offline]" &&
		shows drain_state "done" && shows drain_blocks_left 0 &&
		[ "$(meminfo MemTotal)" = "$total" ]
}

unloads() {
	mts_unload && [ ! -e "$dir" ]
}

ktap_plan 16
total=$(meminfo MemTotal)
check "the module loads" mts_load
if [ "${1:-}" != off ] || [ ! -e "$MTS_DEBUGFS" ]; then
	ktap_ok "debugfs is ${1:-on}"
else
	ktap_fail "debugfs is off" "there is $MTS_DEBUGFS"
fi
check "it is online" shows state "[online] offline"
check "its version" shows version "$(cat /sys/module/mte_tag_storage/version)"
check "the bytes add up" wait_for 5 adds_up
check "... and are MemTotal's" memory_is_more
check "free storage is what the pages' flags say" wait_for 5 free_as_seen
used=$(val released_used_bytes)
free=$(val released_free_bytes)
check_here "data in all of tag storage" hold_start 5 fill
mib=$(($(hold_field kib 5) * 1024))
check "... is used by data" at_least released_used_bytes $((used + mib * 3 / 4))
check "... and not free" at_most released_free_bytes $((free - mib * 3 / 4))
check "... as the flags say" wait_for 5 free_as_seen
hold_finish 5
tags() {
	_reserved=$(val reserved_bytes)
	# By the next pass
	hold_start 6 hold 8 && wait_for 10 at_least tagged_bytes 8388608 &&
		at_least reserved_bytes $((_reserved + 131072)) && hold_finish 6
}
check_here "tagged memory shows" tags
check "knobs and presets" knob
pinned() {
	hold_start 7 pin && offline_fails && hold_finish 7
}
check_here "a page that is pinned: offline says why" pinned
check "offline" wait_for 20 gone
check "the module unloads, the files go" unloads
ktap_done
