#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What the policy's knobs say is what happens: when blocks are reserved and
# released, what the page allocator uses tag storage for, whether sparse blocks are
# emptied. Without load; times are long enough for a slow machine.

. ./lib.sh
. ./hold
. ./knobs

at_least() {
	[ "$(reserved)" -ge "$1" ]
}

# tag_and_end: 8 MiB are tagged for a moment: 64 blocks or more of 4 KiB
tag_and_end() {
	hold_start 5 hold 8 && at_least $((base + some)) && hold_finish 5
}

# inside MIB: of so much data, how many per cent get into tag storage?
inside() {
	./mts_tool place "$1" | awk -F '[= ]' '{ printf "%d\n", $4 * 100 / $2 }'
}

# stays BLOCKS SECONDS: so many blocks or more are reserved all that time
stays() {
	_end=$(($(cut -d. -f1 /proc/uptime) + $2))
	while [ "$(cut -d. -f1 /proc/uptime)" -lt "$_end" ]; do
		at_least "$1" || {
			echo "$(reserved) blocks, not $1"
			return 1
		}
		usleep 100000
	done
}

ktap_plan 24
check "the module loads" mts_load
knob evacuate_percent 0
mts_release
base=$(reserved)
# Blocks of more pages are fewer
some=$((8 * 256 / 32 / ($(cat "$MTS_DEBUGFS/regions/0/block_bytes") / 4096) / 2))
[ "$some" -gt 0 ] || some=1

knob pass_interval_ms 50
knob release never
check_here "memory is tagged, and no more" tag_and_end
check "release=never keeps its blocks" stays $((base + some)) 3
check "... until they are released by hand" mts_release
check "... all of them" at_most "$base"

knob release_delay_ms 60000
knob release lazy
check_here "memory is tagged again" tag_and_end
check "release_delay_ms=60000 keeps its blocks" stays $((base + some)) 3
knob release_delay_ms 500
check "release_delay_ms=500 releases them" wait_for 10 at_most "$base"

knob release_delay_ms 60000
check_here "memory is tagged once more" tag_and_end
knob release_delay_ms 0
check "release_delay_ms=0 releases them" wait_for 4 at_most "$base"

knob release_delay_ms 60000
# The lists of CPUs are filled with up to 2,016 pages at a time, and what is on them
# comes first, whatever the policy is now. They get shorter when they aren't used; with
# 64K pages, where 8 MiB are 128, more is wanted than the shortest ones have (252).
data=8
if [ "$(./mts_tool page)" -eq 65536 ]; then
	data=48
	echo 100000 >/proc/sys/vm/percpu_pagelist_high_fraction
fi
used_first() {
	n=$(inside "$data")
	[ "$n" -ge 50 ]
}
used_last() {
	n=$(inside "$data")
	[ "$n" -le 2 ]
}
knob data_use first
if wait_for 20 used_first; then
	ktap_ok "data_use=first: $n % of data in tag storage"
else
	ktap_fail "data_use=first" "$n % of data in tag storage"
fi
# What will have tags is no data, even if it comes in huge pages
no_tags_there() {
	_refused=$(mts_stat reserve_refused)
	hold_start 5 hold 16 && hold_finish 5 || return 1
	echo "# $(($(mts_stat reserve_refused) - _refused)) times in tag storage"
	[ "$(mts_stat reserve_refused)" = "$_refused" ]
}
huge=/sys/kernel/mm/transparent_hugepage/enabled
usual=$(sed 's/.*\[\(.*\)\].*/\1/' $huge)
echo always >$huge
check_here "... none of what has tags" no_tags_there
echo "$usual" >$huge
knob data_use last-resort
echo "# data_use=last-resort: at first $(inside "$data") % of data in tag storage"
if wait_for 20 used_last; then
	ktap_ok "data_use=last-resort: $n %, there is other memory"
else
	ktap_fail "data_use=last-resort" "$n % of data in tag storage"
fi
knob data_use off
check "data_use=off: all of it is taken" wait_for 20 few_released
knob data_use balanced
knob release_delay_ms 100
check "data_use=balanced: it is lent again" wait_for 20 at_most "$base"

knob reserve at-first-use
check_here "reserve=at-first-use: a page is tagged" hold_start 5 hold 1
check "... and all storage is reserved" wait_for 40 few_released
check_here "... the page is right" hold_finish 5
knob reserve on-demand
check "reserve=on-demand: it is lent again" wait_for 20 at_most "$base"

# One of 16 pages stays: 4 MiB, in as many blocks as 64 MiB have
check_here "sparse blocks" hold_start 5 hold 64 16
full=$(reserved)
check "evacuate_percent=0 leaves them" stays $((full - 8)) 3
half() {
	at_most $((base + (full - base) / 2))
}
knob evacuate_percent 95
check "evacuate_percent=95 empties them" wait_for 30 half
echo "# $full blocks, then $(reserved); $(mts_stat evacuated_pages) pages moved"
check_audit behave
finish() {
	hold_finish 5 && unload
}
check_here "... nothing is damaged; offline and rmmod" finish
ktap_done
