#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Injected failures of the module's operations: programs never notice, and the
# check of scrubbing does.

. ./lib.sh
. ./hold
. ./knobs

# With fail_migrate at 100 %: what isolates pages puts them back
offline_fails() {
	if mts_offline 2>/dev/null; then
		echo "it is offline"
		return 1
	fi
	[ "$(mts_state)" = online ]
}

# while_faulting COMMAND...: beside a fault that is never resolved
while_faulting() {
	# What is reserved still, from before, would be enough for it
	mts_release
	./mts_tool hold 1 </dev/null >/dev/null 2>&1 &
	_pid=$!
	_rc=0
	"$@" || _rc=$?
	kill -9 "$_pid"
	wait "$_pid"
	return "$_rc"
}

# If all waits were as long as the first one, it would come again 35 times in 4 s
backs_off() {
	_before=$(mts_stat faults_retried)
	sleep 4
	_times=$(($(mts_stat faults_retried) - _before))
	echo "it came again $_times times"
	[ "$_times" -ge 3 ] && [ "$_times" -le 22 ]
}

repeated() {
	[ "$(mts_stat faults_repeated_max)" -gt 1100 ]
}

not_repeated() {
	! repeated
}

audit_tells() {
	./mts_audit --busy >/tmp/audit.out
	grep '^not ok' /tmp/audit.out >/tmp/audit.bad
	cat /tmp/audit.bad
	[ "$(grep -c . /tmp/audit.bad)" = 1 ] &&
		grep -q "no fault on access comes again and again" /tmp/audit.bad
}

ktap_plan 21
check "the module loads" mts_load
if [ ! -d $MTS_DEBUGFS/fail_reserve ]; then
	if zcat /proc/config.gz | grep -q '^CONFIG_FAULT_INJECTION_DEBUG_FS=y'; then
		ktap_fail "fail_reserve is there"
	else
		ktap_skip "fail_reserve" "no CONFIG_FAULT_INJECTION_DEBUG_FS"
	fi
	for what in 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		ktap_skip "part $what" "no fault injection"
	done
	wait_for 20 mts_offline
	check "the module unloads" mts_unload
	ktap_done
fi
ktap_ok "fail_reserve is there"

check "a half of all reservations fails" inject fail_reserve 50
check "... tags are right" ./mts_touch
check "... also with many threads" ./mts_smp 1 5
if [ "$(mts_stat reserve_failed_busy)" -gt 0 ]; then
	ktap_ok "... and they have failed: $(mts_stat reserve_failed_busy)"
else
	ktap_fail "... and they have failed"
fi
inject fail_reserve 0
check "all fail: copies of tagged pages wait" ./mts_wait

check "a half of all migrations fails" inject fail_migrate 50
check "... tags are right" ./mts_mprotect
inject fail_migrate 0

inject fail_scrub 100
if (echo 8 >$MTS_DEBUGFS/trigger/scrub_check) 2>/dev/null; then
	ktap_fail "a scrub that is left out is seen" "scrub_check passes"
elif [ "$(mts_stat scrub_failed)" = 8 ]; then
	ktap_ok "a scrub that is left out is seen"
else
	ktap_fail "a scrub that is left out is seen" "scrub_failed $(mts_stat scrub_failed)"
fi
inject fail_scrub 0
scrubbed() {
	echo 8 >"$MTS_DEBUGFS/trigger/scrub_check"
}
check "... one that is done is right" scrubbed

echo 200 >$MTS_DEBUGFS/policy/take_back_timeout_ms
check_here "data in all of tag storage" hold_start 5 fill
inject fail_migrate 100
check "no migration works: offline fails" offline_fails
check "... and leaves no page isolated" wait_for 10 nothing_isolated
inject fail_migrate 0
check_here "... nor data damaged" hold_finish 5
echo 4000 >$MTS_DEBUGFS/policy/take_back_timeout_ms

check "so far no fault has come again and again" not_repeated
# What offline had taken is taggable, and would do
mts_release
inject fail_reserve 100
inject fail_migrate 100
echo 100 >$MTS_DEBUGFS/policy/fault_wait_ms
check "a fault that can't be resolved backs off" while_faulting backs_off
echo 1 >$MTS_DEBUGFS/policy/fault_wait_ms
check "a fault that never succeeds comes again" while_faulting wait_for 90 repeated
echo 20 >$MTS_DEBUGFS/policy/fault_wait_ms
inject fail_reserve 0
inject fail_migrate 0
check "... and the audit tells, and nothing else" audit_tells
check "offline" wait_for 20 mts_offline
check "the module unloads" mts_unload
ktap_done
