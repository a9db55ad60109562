#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Sparse blocks are emptied while memory is full: data lie in all holes between
# tagged pages, and have to go elsewhere first.

. ./lib.sh
. ./hold
. ./knobs

# But for what the kernel keeps free, and a little
fill_up() {
	hold_start 6 data $((($(meminfo MemFree) >> 10) - 8))
}

few() {
	at_most $((base + most))
}

ktap_plan 10
check "the module loads" mts_load
mts_release
base=$(reserved)
knob evacuate_percent 0
check_here "one of 8 tagged pages is kept" hold_start 5 hold 96 8
check_here "data fill memory" fill_up
full=$(reserved)
# So many blocks hold them when full, and a half more
ideal=$((96 / 8 * 256 / 32 / ($(cat "$MTS_DEBUGFS/regions/0/block_bytes") / 4096)))
most=$((ideal * 3 / 2))
if [ $((full - base)) -ge $((ideal * 3)) ]; then
	ktap_ok "the blocks are sparse"
else
	ktap_fail "the blocks are sparse" "$full, $base before"
fi
knob evacuate_percent 95
start=$(mts_stat evacuated_pages)
cleared=$(mts_stat cleared_pages)
# Nothing else wakes the machine meanwhile
sleep 8
check "they are emptied, though the machine is idle" wait_for 8 few
moved=$(($(mts_stat evacuated_pages) - start))
cleared=$(($(mts_stat cleared_pages) - cleared))
echo "# $full blocks, then $(reserved), ideal $((base + ideal)); $moved tagged pages moved, $cleared others"
check "data made room for them" [ "$cleared" -gt 0 ]
check_here "the data are right" hold_finish 6
check_here "the tags are right" hold_finish 5
check_audit sparse_full
check "offline and rmmod" unload
ktap_done
