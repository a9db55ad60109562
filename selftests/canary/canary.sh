#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The guest's side of the harness's canaries: fail in the way that is asked for.
#	canary KIND [TEXT]
# Everything after the failure looks like a good run: what is reported must be
# found by the host.
. ./lib.sh

kind=$1
module=/lib/modules/mts_canary.ko

# A short limit, so that the watchdog needs seconds only; of the one that is meant
# alone, as a CPU that doesn't schedule holds up grace periods, too.
case $kind in
softlockup) echo 1 >/proc/sys/kernel/watchdog_thresh ;;
rcu_stall) echo 3 >/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout ;;
hung)
	echo 2 >/proc/sys/kernel/hung_task_timeout_secs
	echo 1 >/proc/sys/kernel/hung_task_check_interval_secs
	;;
esac

case $kind in
noversion)
	echo "1..1"
	ktap_ok "a report without a version line"
	exit 0
	;;
noplan)
	echo "KTAP version 1"
	ktap_ok "a report without a plan"
	exit 0
	;;
silent)
	exit 0
	;;
esac

ktap_plan 2
ktap_ok "before"
case $kind in
none) ;;
fail)
	ktap_fail "after" "on purpose"
	exit 0
	;;
hidden)
	echo "    KTAP version 1"
	echo "    1..1"
	echo "    not ok 1 a part fails, and the whole does not"
	;;
parts)
	echo "    KTAP version 1"
	echo "    1..2"
	echo "    ok 1 one of two"
	;;
says)
	echo "$2" | tr . ' ' >/dev/kmsg
	;;
skip)
	echo "# SKIP of one result is not a skipped test" >&2
	ktap_skip "after" "on purpose"
	ktap_done
	;;
short)
	exit 0
	;;
long)
	ktap_ok "one more"
	;;
status)
	ktap_ok "after"
	exit 3
	;;
signal)
	ktap_ok "after"
	kill -SEGV $$
	;;
hang)
	while :; do sleep 1; done
	;;
vanish)
	ktap_ok "after"
	poweroff -f
	;;
reset)
	ktap_ok "after"
	reboot -f
	;;
*)
	insmod $module kind="$kind" seconds=6 >&2 ||
		ktap_fail "insmod $module" "it failed"
	# Several watchdogs look once a second.
	sleep 1
	;;
esac
ktap_ok "after"
ktap_done
