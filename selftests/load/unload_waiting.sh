#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Offline and rmmod while a fault waits for tag storage in the module: they wait for
# it, and it gets what it needs.

. ./lib.sh
. ./knobs

# The program is in the module, in a fault
waits() {
	grep -qs 'mts_wait.*\[mte_tag_storage\]' "/proc/$waiter/stack"
}

# Neither offline nor rmmod leaves it there
unload() {
	waits || {
		echo "it does not wait"
		return 1
	}
	# When it has what it needs it reads a file of the module
	mts_offline && wait_for 10 mts_unload && ! waits
}

ktap_plan 11
for round in 1 2; do
	check "the module loads, $round" mts_load
	# What is reserved would be enough for it
	mts_release
	# It does not try again before all is done that doesn't wait for it
	check "faults wait long, $round" knob fault_wait_ms 8000
	check "no tag storage can be had, $round" no_storage 100
	./mts_tool hold 1 </dev/null >/tmp/hold.out 2>&1 &
	waiter=$!
	wait_for 20 waits
	# Who has been asked to get it has failed then, and nobody else will try
	usleep 1000000
	no_storage 0
	check "offline and rmmod wait for it, $round" unload
	wait $waiter
	check "... and it gets what it needs, $round" ended $?
done
# Without the module: what is free
check_audit unload_waiting
ktap_done
