#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Control plane: triggers, drain_progress, a page that can't be taken back.

. ./lib.sh
. ./hold

progress() {
	sed -n "s/^$1 //p" $MTS_DEBUGFS/drain_progress
}

# refused TRIGGER VALUE...: and the counts stay
refused() {
	_trigger=$1
	shift
	_before=$(grep '^blocks_' "$MTS_DEBUGFS/stats")
	for _value; do
		if trigger "$_trigger" "$_value"; then
			echo "$_trigger takes '$_value'"
			return 1
		fi
	done
	[ "$(grep '^blocks_' "$MTS_DEBUGFS/stats")" = "$_before" ]
}

# at_least KEY NUMBER
at_least() {
	[ "$(mts_stat "$1")" -ge "$2" ] || {
		echo "$1 is $(mts_stat "$1")"
		return 1
	}
}

# The map's characters, a '*' replaced by the lines it stands for
map_chars() {
	awk -v ch="$2" 'NR == 1 { total = $2; step = $4; next }
		$1 == "*" { star = 1; next }
		{ if (star) { for (i = at; i < $1; i += 64 * step) n += gsub(ch, "&", last) }
		  star = 0; last = $2; t = $2; n += gsub(ch, "&", t)
		  at = $1 + length($2) * step }
		END { print n + 0 }' "$MTS_DEBUGFS/regions/$1/map"
}

offline_fails() {
	if mts_offline 2>/dev/null; then
		echo "it went offline"
		return 1
	fi
	[ "$(mts_state)" = online ]
}

ktap_plan 33
check "the module loads" mts_load
equal "the kernel's hooks are on" 1 "$(./mts_tool key tag_storage_key)"
echo never >$MTS_DEBUGFS/policy/release
total=$(meminfo MemTotal)

# A page somewhere in the middle of the memory served
# shellcheck disable=SC2046 # words are wanted
set -- $(sed -n '2s/^[^ ]* [^ ]* \(0x[0-9a-f]*\)-\(0x[0-9a-f]*\) .*/\1 \2/p' \
	$MTS_DEBUGFS/regions/summary)
storage=$(sed -n '2s/^[^ ]* \(0x[0-9a-f]*\)-.*/\1/p' $MTS_DEBUGFS/regions/summary)
page=$(./mts_tool page)
pfn=$((($1 + ($2 - $1) / 2) / page))
reserved=$(mts_stat blocks_reserved)
check "reserve a page" trigger reserve $pfn
check "... is a block" at_least blocks_reserved $((reserved + 1))
check "again is nothing new" trigger reserve "$pfn 1"
check "reserve 1000 pages" trigger reserve "$pfn 1000"
check "... is some blocks" at_least blocks_reserved $((reserved + 2))
if [ "$(map_chars 0 '[#0-9]')" -gt 0 ]; then
	ktap_ok "they are on the map"
else
	ktap_fail "they are on the map" "$(cat $MTS_DEBUGFS/regions/0/map)"
fi
sed 's/^/# /' $MTS_DEBUGFS/regions/0/map
check "what can't be reserved is refused" refused reserve " " 0 x "$pfn 0" "$pfn x" \
	"$pfn 1 1" "$pfn 65537" $((storage / page)) -1 99999999999999999999999 \
	18446744073709551615 "$pfn 18446744073709551615"
check "they are released" trigger release 1
if [ "$(mts_stat blocks_reserved)" -le "$reserved" ]; then
	ktap_ok "... all of them"
else
	ktap_fail "... all of them" "$(mts_stat blocks_reserved), $reserved before"
fi
one_alone() {
	trigger reserve "$pfn" && at_least blocks_reserved $((reserved + 1)) &&
		trigger release 1 && trigger audit 1 &&
		[ "$(mts_stat blocks_reserved)" -le "$reserved" ]
}
check "... also one alone" one_alone
check "release takes nothing but 1" refused release " " 0 2 11 one

check "the scrub check passes" trigger scrub_check 64
check "... and has looked" at_least scrub_checked 64
if [ "$(mts_stat scrub_failed)" = 0 ]; then
	ktap_ok "... and found nothing"
else
	ktap_fail "... and found nothing" "$(mts_stat scrub_failed) blocks"
fi
check "the scrub check wants a number" refused scrub_check " " 0 -1 65537 all

if [ "$(progress state)" = idle ]; then
	ktap_ok "no drain yet"
else
	ktap_fail "no drain yet" "$(cat $MTS_DEBUGFS/drain_progress)"
fi
check_here "a page in tag storage is pinned" hold_start 5 pin
echo 500 >$MTS_DEBUGFS/policy/take_back_timeout_ms
check "offline fails, all stays online" offline_fails
check "... and all tables are right" trigger audit 1
pinned=$(hold_field pfn 5)
if [ "$(progress state)" = failed ] && [ "$(progress reason)" = pinned ] &&
	[ "$(($(progress pfn)))" = "$pinned" ]; then
	ktap_ok "... drain_progress tells why"
else
	ktap_fail "... drain_progress tells why" "pinned $pinned; $(cat $MTS_DEBUGFS/drain_progress)"
fi
hex=$(printf '0x%x' "$pinned")
if [ "$(dmesg_count "mte_tag_storage: still online: .* pfn $hex is pinned")" = 1 ]; then
	ktap_ok "... and the log, once"
else
	ktap_fail "... and the log, once" "$(dmesg | grep mte_tag)"
fi
if [ "$(meminfo MemTotal)" = "$total" ]; then
	ktap_ok "... nothing is lost"
else
	ktap_fail "... nothing is lost" "MemTotal $(meminfo MemTotal), was $total"
fi

# Now it waits, is watched, and interrupted
echo 60000 >$MTS_DEBUGFS/policy/take_back_timeout_ms
sh -c "echo offline >$MTS_DEBUGFS/state" 2>/dev/null &
writer=$!
waits() {
	[ "$(progress state)" = waiting ]
}
check "a drain that waits shows" wait_for 20 waits
if [ "$(progress blocks_left)" -gt 0 ] &&
	[ "$(progress blocks_left)" -le "$(progress blocks_total)" ]; then
	ktap_ok "... how far it is"
else
	ktap_fail "... how far it is" "$(cat $MTS_DEBUGFS/drain_progress)"
fi
kill $writer
wait $writer
interrupted() {
	[ "$(progress state)" = interrupted ] && [ "$(mts_state)" = online ]
}
check "a signal ends it" wait_for 10 interrupted
check_here "the page is as it was" hold_finish 5
check_audit control
unload() {
	wait_for 20 mts_offline && [ "$(progress state)" = "done" ] &&
		[ "$(progress blocks_left)" = 0 ] && mts_unload
}
check "now it can be taken back" unload
equal "... and the hooks are off" 0 "$(./mts_tool key tag_storage_key)"
check "a second round" mts_load
again() {
	wait_for 20 mts_offline && mts_unload
}
check "... and its end" again
ktap_done
