#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# mts-ps and mts-textfile: tagged memory of a process, numbers for monitoring. What the
# unit for systemd runs before hibernation and kexec, and after.

. ./lib.sh
. ./hold

if ! command -v mts-top >/dev/null; then
	ktap_skip_all "no mts-top: the tools aren't installed"
fi

refuses() {
	! "$@" >/dev/null 2>&1
}

# field N COMMAND: of the line of mts-ps
field() {
	mts-ps | awk -v n="$1" -v name="$2" '$5 == name { print $n; exit }'
}

between() {
	if [ "${1:-0}" -lt "$2" ] || [ "$1" -gt "$3" ]; then
		echo "$1 is not from $2 to $3"
		return 1
	fi
}

ktap_plan 14
check "without the module mts-textfile refuses" refuses mts-textfile
check "the module loads" mts_load
check_here "8 MiB are tagged" hold_start 5 hold 8
mts-ps | sed 's/^/# /'
mib=1048576
check "mts-ps tells of them" between "$(field 3 mts_tool)" $((8 * mib)) $((9 * mib))
check "... of the process's share" between "$(field 4 mts_tool)" $((8 * mib)) $((9 * mib))
none() {
	[ -z "$(field 3 init)" ]
}
check "... and of no process without" none
metrics() {
	mts-textfile /tmp/mts.prom || return 1
	grep -q '^mte_tag_storage_online 1$' /tmp/mts.prom || return 1
	_n=$(sed -n 's/^mte_tag_storage_tagged_bytes //p' /tmp/mts.prom)
	[ "$_n" -ge $((8 * mib)) ] || return 1
	# A line of a metric is a name and a number, nothing is left over
	! grep -vE '^(# TYPE mte_tag_storage_[a-z_]+ (gauge|counter)|mte_tag_storage_[a-z_]+ [0-9]+)$' \
		/tmp/mts.prom && [ "$(echo /tmp/mts.prom*)" = /tmp/mts.prom ]
}
# tagged_bytes is as of the last pass
check "mts-textfile has the numbers" wait_for 10 metrics
check_here "the program ends" hold_finish 5
# The zero page has tags, and is no memory of the program
check_here "32 MiB with PROT_MTE are only read" hold_start 5 read 32
only_zeroes() {
	_line=$(mts-ps | grep ' mts_tool$') && echo "$_line" &&
		[ "$(field 3 mts_tool)" -lt "$mib" ] && [ "$(field 4 mts_tool)" -lt "$mib" ]
}
check "... which mts-ps doesn't count" only_zeroes
hold_finish 5
# Its commands are quoted as for a shell
unit=mte-tag-storage-offline.service
unit_does() {
	[ -e "$(sed -n 's/^ConditionPathExists=//p' "$unit")" ] || return 1
	_cmd=$(sed -n "s/^$1=//p" "$unit")
	[ -n "$_cmd" ] && eval "$_cmd" && [ "$(cat "$MTS_SYSFS/state")" = "$2" ]
}
if [ -f $unit ]; then
	check "the unit takes the storage back" unit_does ExecStart "online [offline]"
	check "... and lends it again" unit_does ExecStop "[online] offline"
else
	ktap_skip "the unit takes the storage back" "no $unit"
	ktap_skip "... and lends it again" "no $unit"
fi
check_audit tools
check "offline and rmmod" unload
ktap_done
