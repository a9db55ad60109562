#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# rmmod while faults wait for tag storage in the module: it waits for them, and they
# get what they need.

. ./lib.sh
. ./knobs

# The program is in the module, in a fault
waits() {
	grep -qs 'mts_wait.*\[mte_tag_storage\]' "/proc/$waiter/stack"
}

# rmmod, and it was not done while the fault was in the module
unload() {
	waits || return 1
	mts_unload || return 1
	! waits
}

ktap_plan 12
for round in 1 2; do
	check "the module loads, $round" mts_load
	# What is reserved would be enough for it
	mts_release
	# Longer than all that follows takes: it does not try again before
	check "faults wait long, $round" knob fault_wait_ms 10000
	check "no tag storage can be had, $round" no_storage 100
	./mts_tool hold 1 </dev/null >/tmp/hold.out 2>&1 &
	waiter=$!
	wait_for 20 waits
	no_storage 0
	check "offline while a fault waits, $round" mts_offline
	check "rmmod waits for it, $round" unload
	wait $waiter
	check "... and it gets what it needs, $round" ended $?
done
ktap_done
