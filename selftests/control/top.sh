#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# mts-top and mts-record show what the module shows. Their output comes as
# diagnostic lines: "# top: " and "# record: ", for mts-plot.
#
# usage: top [SECONDS of load to record [full]]
#		full: meanwhile other data fills memory, as for the pictures in docs/img
#        top off	on a machine without debugfs

. ./lib.sh
. ./hold

if ! command -v mts-top >/dev/null; then
	ktap_skip_all "no mts-top: the tools aren't installed"
fi

seconds=${1:-6}

# shows PATTERN: mts-top's frame
shows() {
	grep -q "$1" /tmp/top || {
		echo "no '$1'"
		return 1
	}
}

refuses() {
	! "$@" >/dev/null 2>&1
}

# Without debugfs they have the numbers of sysfs, and say what is missing
if [ "${1:-}" = off ]; then
	hides() {
		! grep "$1" /tmp/top
	}
	# Between two looks at sysfs that are the same, what the frame says
	reserved_shows() {
		_kib=$(($(cat "$MTS_SYSFS/reserved_bytes") / 1024))
		mts-top -n 1 >/tmp/top || return 1
		[ "$_kib" = $(($(cat "$MTS_SYSFS/reserved_bytes") / 1024)) ] &&
			shows "reserved .* $_kib KiB"
	}
	tagged() {
		[ "$(cat "$MTS_SYSFS/tagged_bytes")" -ge 25165824 ]
	}
	records() {
		mts-record -n 3 -d 0.2 >/tmp/record 2>/tmp/record.says || return 1
		grep -q 'without debugfs: no maps' /tmp/record.says || return 1
		awk '/^sample / { n++ } /^map / { bad = 1 } /^tagged_bytes / && $2 >= 25165824 { t++ }
			/^released_used_bytes [0-9]+$/ { u++ }
			END { exit !(n == 3 && t == 3 && u == 3 && !bad) }' /tmp/record
	}
	gone() {
		echo offline >"$MTS_SYSFS/state" && mts_unload
	}
	ktap_plan 14
	check "there is no debugfs" [ ! -e $MTS_DEBUGFS ]
	check "without the module mts-top refuses" refuses mts-top -n 1
	check "... and mts-record" refuses mts-record -n 1
	check "the module loads" mts_load
	check_here "24 MiB are tagged" hold_start 5 hold 24
	check "... and counted" wait_for 10 tagged
	check "mts-top shows what is reserved" wait_for 10 reserved_shows
	sed 's/^/# top: /' /tmp/top
	check "... the state" shows '\[online\] offline'
	check "... the tagged memory" shows "Tagged memory 2[4-9]\.[0-9] MiB"
	check "... who holds it" shows "func:[a-z_]*"
	check "... that it has no rates, times and maps" shows "^Not shown: rates, times and maps"
	check "... and doesn't make them up" hides "Reserving a block\|Region\|nan"
	check "mts-record has what sysfs has, and says so" records
	hold_finish 5
	check "offline and rmmod" wait_for 20 gone
	ktap_done
	exit
fi

ktap_plan 17
check "without the module mts-top refuses" refuses mts-top -n 1
check "... and mts-record" refuses mts-record -n 1
check "... and wrong options" refuses mts-top -n x
check "the module loads" mts_load
mts-record -d 0.2 >/tmp/record &
recorder=$!
sleep 1
if hold_start 5 hold 24; then
	ktap_ok "24 MiB are tagged"
else
	ktap_fail "24 MiB are tagged"
fi
echo never >$MTS_DEBUGFS/policy/release
reserved=$(mts_stat blocks_reserved)
# The next pass counts them
wait_for 10 sh -c "[ \$(awk '\$1 == \"tagged_pages\" { print \$2 }' $MTS_DEBUGFS/stats) -ge 6144 ]"
check "mts-top draws a frame" sh -c "mts-top -n 1 >/tmp/top"
sed 's/^/# top: /' /tmp/top
check "... the state" shows '\[online\] offline'
kib=$(($(mts_stat reserved_bytes) / 1024))
check "... what is reserved" shows "reserved .* $kib KiB"
check "... what data uses of it, what is free" shows "for data .* [KM]iB"
check "... the tagged pages" shows "Tagged memory 2[4-9]\.[0-9] MiB"
check "... who holds it" shows "func:[a-z_]*"
check "... the map" shows "^ *0 [.#0-9=~+!]*"
echo lazy >$MTS_DEBUGFS/policy/release
check "several frames" sh -c "[ \$(mts-top -n 2 -d 0.2 | grep -c '^mts-top') = 2 ]"
if [ "${2:-}" = full ]; then
	sleep "$((seconds / 6))"
	# Less what the programs of the load have at a time
	hold_start 6 data $((($(meminfo MemFree) >> 10) - 52))
	sleep "$((seconds / 6))"
fi
./mts_smp "$((seconds / 3))" >/dev/null 2>&1
status=$?
if [ "${2:-}" = full ]; then
	hold_finish 6
	status="$status $?"
fi
hold_finish 5
status="$status $?"
# shellcheck disable=SC2086 # a list of words
check "the programs ended well" ended $status
sleep $((seconds / 3))
kill $recorder
wait $recorder
if awk -v want="$reserved" '/^sample / { n++ } /^blocks_reserved / && $2 >= want { seen = 1 }
	END { exit !(n >= 5 && seen) }' /tmp/record; then
	ktap_ok "mts-record has samples of it"
else
	ktap_fail "mts-record has samples of it" "$(grep -c '^sample ' /tmp/record) samples"
fi
sed 's/^/# record: /' /tmp/record
check_audit top
check "offline and rmmod" unload
ktap_done
