#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Tracepoints: every start has its finish, in the same task, with the same block.

. ./lib.sh
. ./hold

tracing=/sys/kernel/tracing
[ -d $tracing/events ] || tracing=/sys/kernel/debug/tracing
out=/tmp/trace

# paired EVENT: starts and finishes alternate in a task
paired() {
	awk -v ev="$1" '
	function key(s) { return match(s, /region=[0-9]+ block=[0-9]+ /) ? substr(s, RSTART, RLENGTH) : "" }
	$0 ~ ": " ev "_start: " { n++; if ($1 in open) { bad = $0 }; open[$1] = key($0) }
	$0 ~ ": " ev "_finish: " { m++; if (!($1 in open) || open[$1] != key($0)) bad = $0
		delete open[$1] }
	END { if (bad != "") print "not paired: " bad
		for (t in open) { print "no finish: " t; bad = 1 }
		if (n != m) print n " starts, " m " finishes"
		exit bad != "" || !n || n != m }' "$out"
}

# seen PATTERN
seen() {
	grep -q "$1" "$out" || {
		echo "no '$1'"
		return 1
	}
}

if [ ! -d $tracing/events ]; then
	ktap_plan 1
	ktap_skip "tracepoints" "no tracing in this kernel"
	ktap_done
fi

ktap_plan 18
check "the module loads" mts_load
if [ -d $tracing/events/mte_tag_storage/request ]; then
	ktap_ok "its events are there"
else
	ktap_fail "its events are there"
	ktap_done
fi
echo 8192 >$tracing/buffer_size_kb
echo 1 >$tracing/events/mte_tag_storage/enable
echo 20 >$MTS_DEBUGFS/policy/pass_interval_ms
calls=$(mts_stat reserve_calls)
faults=$(mts_stat faults_on_access)
./mts_smp 1 >/dev/null 2>&1
status=$?
./mts_tool hold 4 </dev/null >/dev/null
status="$status $?"
./mts_mprotect >/dev/null 2>&1
status="$status $?"
# Data in all tag storage, then tags that need some of it
hold_start 5 fill
status="$status $?"
./mts_tool hold 4 </dev/null >/dev/null
status="$status $?"
calls=$(($(mts_stat reserve_calls) - calls))
faults=$(($(mts_stat faults_on_access) - faults))
mts_release
status="$status $?"
hold_finish 5
status="$status $?"
wait_for 20 mts_offline
status="$status $?"
# shellcheck disable=SC2086 # a list of words
check "all that was traced went well" ended $status
echo 0 >$tracing/events/mte_tag_storage/enable
cat $tracing/trace >$out
echo "# $(grep -c '^ ' $out) events"
for ev in request reserve_start reserve_finish release_start release_finish \
	evict_start evict_finish fault_on_access \
	take_back_start take_back_finish policy; do
	echo "# $(grep -m 1 " $ev: " $out)"
done

lost=$(awk '/entries-in-buffer/ { split($3, n, "/"); print n[2] - n[1] }' $out)
if [ "$lost" = 0 ]; then
	ktap_ok "no event was lost"
else
	ktap_fail "no event was lost" "$lost"
fi
check "reserve" paired reserve
check "release" paired release
check "evict" paired evict
check "take_back" paired take_back
if [ "$(grep -c ' fault_on_access: ' $out)" = "$faults" ] && [ "$faults" -gt 0 ]; then
	ktap_ok "every fault shows: $faults"
else
	ktap_fail "every fault shows" "$(grep -c ' fault_on_access: ' $out) of $faults"
fi
if [ "$(grep -c ' request: ' $out)" = $calls ]; then
	ktap_ok "every request shows: $calls"
else
	ktap_fail "every request shows" "$(grep -c ' request: ' $out) of $calls"
fi
check "how" seen "reserve_finish: region=0 block=[0-9]* tag_pfn=0x[0-9a-f]* how=fast ret=0"
check "who" seen "request: pfn=0x[0-9a-f]* nr_pages=[0-9]* caller=[a-z_]*+0x"
check "what came of it" seen "take_back_finish: blocks_left=0 ret=0 pfn=0x0 reason=none"
check "the policy" seen "policy: knob=pass_interval_ms value=20"
if grep -qE '0x[0-9a-f]{12}|\(____ptrval____\)' $out; then
	ktap_fail "no pointers" "$(grep -m 1 -E 'pfn=0x[0-9a-f]{12}|ptrval' $out)"
else
	ktap_ok "no pointers"
fi
check "the module unloads" mts_unload
if [ ! -d $tracing/events/mte_tag_storage/request ]; then
	ktap_ok "its events are gone"
else
	ktap_fail "its events are gone"
fi
echo 0 >$tracing/trace
# Without the module: it would have been traced
check_audit trace
ktap_done
