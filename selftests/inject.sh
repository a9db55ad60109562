#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Injected failures of the module's operations: programs never notice, and the
# check of scrubbing does.

. ./lib.sh
. ./hold

# inject NAME PERCENT
inject() {
	echo 0 >"$MTS_DEBUGFS/$1/verbose" &&
		echo -1 >"$MTS_DEBUGFS/$1/times" &&
		echo "$2" >"$MTS_DEBUGFS/$1/probability"
}

ktap_plan 13
check "the module loads" mts_load
if [ ! -d $MTS_DEBUGFS/fail_reserve ]; then
	if zcat /proc/config.gz | grep -q '^CONFIG_FAULT_INJECTION_DEBUG_FS=y'; then
		ktap_fail "fail_reserve is there"
	else
		ktap_skip "fail_reserve" "no CONFIG_FAULT_INJECTION_DEBUG_FS"
	fi
	for what in 3 4 5 6 7 8 9 10 11 12; do
		ktap_skip "part $what" "no fault injection"
	done
	wait_for 20 mts_offline
	check "the module unloads" mts_unload
	ktap_done
fi
ktap_ok "fail_reserve is there"

check "a half of all reservations fails" inject fail_reserve 50
check "... tags are right" ./mts_touch
check "... also with many threads" ./mts_smp 1
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
check "offline" wait_for 20 mts_offline
check "the module unloads" mts_unload
ktap_done
