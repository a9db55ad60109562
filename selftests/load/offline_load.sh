#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# offline and online while the oracle works. Taking everything back may fail for a
# moment (EBUSY), never to stay so, and never costs a byte.
#
# usage: offline_load [ROUNDS]

. ./lib.sh

rounds=${1:-6}
ktap_plan 6
total=$(meminfo MemTotal)
check "the module loads" mts_load
grown=$(meminfo MemTotal)
: >/tmp/go
./mts_oracle --until=/tmp/go --seconds=900 --mem-percent=50 --tagged-percent=4 \
	--lock=/tmp/filling >/tmp/oracle.out 2>&1 &
oracle=$!

# Offline there is less memory: not while the oracle has just filled it up.
offline() {
	# noclobber: creating the file is the lock, see mts_oracle --lock
	wait_for 60 sh -c "set -C; : >/tmp/filling" 2>/dev/null || return 1
	mts_offline
	_status=$?
	rm /tmp/filling
	return $_status
}

n=0
why=
busy=0
while [ $n -lt "$rounds" ] && [ -z "$why" ]; do
	usleep 1500000
	offline 2>/dev/null || {
		busy=$((busy + 1))
		wait_for 60 offline || why="offline"
	}
	[ -n "$why" ] || [ "$(meminfo MemTotal)" = "$total" ] ||
		why="MemTotal offline: $(meminfo MemTotal) KiB, not $total KiB"
	usleep 300000
	[ -n "$why" ] || mts_online || why="online"
	[ -n "$why" ] || [ "$(meminfo MemTotal)" = "$grown" ] ||
		why="MemTotal online: $(meminfo MemTotal) KiB, not $grown KiB"
	n=$((n + 1))
done
rm /tmp/go
wait $oracle
status=$?
sed 's/^/    /' /tmp/oracle.out
echo "# $busy of $n were busy at first"
if [ -z "$why" ]; then
	ktap_ok "$n times offline and online"
else
	ktap_fail "$rounds times offline and online" "round $n: $why"
fi
if [ $status -eq 0 ]; then
	ktap_ok "the oracle agrees"
else
	ktap_fail "the oracle agrees" "exit status $status"
fi
check_audit offline_load
check "offline and rmmod" unload
if [ "$(meminfo MemTotal)" = "$total" ]; then
	ktap_ok "MemTotal is as before"
else
	ktap_fail "MemTotal is as before" "$total KiB before, $(meminfo MemTotal) KiB now"
fi
ktap_done
