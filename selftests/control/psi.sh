#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A fault that waits for tag storage is a memory stall (PSI; the machine has psi=1).

. ./lib.sh
. ./knobs

# Microseconds in which some task has waited for memory
stalled() {
	sed -n 's/^some .*total=//p' /proc/pressure/memory
}

# grows_by US: while 4 s pass
grows_by() {
	_before=$(stalled)
	sleep 4
	[ $(($(stalled) - _before)) -ge "$1" ]
}

quiet() {
	! grows_by 500000
}

ktap_plan 8
if [ ! -e /proc/pressure/memory ]; then
	ktap_fail "pressure is accounted" "no /proc/pressure/memory"
	ktap_done
fi
ktap_ok "pressure is accounted"
check "the module loads" mts_load
check "nobody waits" quiet
check "no tag storage can be had" no_storage 100
./mts_tool hold 1 </dev/null >/tmp/hold.out 2>&1 &
waiter=$!
check "who waits for it is stalled" grows_by 2000000
no_storage 0
wait $waiter
check "... and gets it at last" ended $?
check_audit psi
check "offline and rmmod" unload
ktap_done
