#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The policy: presets at load, knobs at run time. A refused value changes nothing.

. ./lib.sh

dir=$MTS_DEBUGFS/policy

# All knobs in one line
knobs() {
	for knob in "$dir"/*; do
		echo "${knob##*/}=$(cat "$knob")"
	done
}

put() {
	printf '%s' "$2" >"$dir/$1"
} 2>/dev/null

# set_to KNOB VALUE SHOWN
set_to() {
	put "$1" "$2" && [ "$(cat "$dir/$1")" = "$3" ]
}

# refuses KNOB VALUE...: nothing changes
refuses() {
	_knob=$1
	shift
	_before=$(knobs)
	for _value; do
		if put "$_knob" "$_value"; then
			echo "$_knob takes '$_value'"
			return 1
		fi
		if [ "$(knobs)" != "$_before" ]; then
			echo "$_knob: '$_value' is refused and changes something"
			return 1
		fi
	done
}

# has PRESET KNOB VALUE ...
has() {
	_preset=$1
	shift
	[ "$(cat /sys/module/mte_tag_storage/parameters/preset)" = "$_preset" ] ||
		return 1
	while [ $# -gt 0 ]; do
		[ "$(cat "$dir/$1")" = "$2" ] || {
			echo "$1 is $(cat "$dir/$1")"
			return 1
		}
		shift 2
	done
}

ktap_plan 21

if mts_load preset=tablet 2>/dev/null; then
	ktap_fail "an unknown preset refuses the load"
else
	ktap_ok "an unknown preset refuses the load"
fi
if [ "$(dmesg_count "mte_tag_storage: preset=tablet is not one of")" -gt 0 ]; then
	ktap_ok "... and says so"
else
	ktap_fail "... and says so"
fi
for preset in phone server debug; do
	check "preset=$preset loads" mts_load preset=$preset
	case $preset in
	phone) set -- pass_interval_ms 1000 release "[lazy] never" ;;
	server) set -- release_delay_ms 5000 take_back_timeout_ms 30000 ;;
	debug) set -- release_delay_ms 0 \
		data_use "last-resort balanced [first] off" ;;
	esac
	check "... its knobs" has $preset "$@"
	check "... and unloads" unload
done
check "the module loads without one" mts_load
check "... its knobs" has default data_use "last-resort [balanced] first off" \
	reserve "[on-demand] at-first-use" release "[lazy] never" \
	release_delay_ms 2000 pass_interval_ms 250 evacuate_percent 95 \
	take_back_timeout_ms 4000 fault_wait_ms 20 mprotect_inplace_pages 2
if (echo phone >/sys/module/mte_tag_storage/parameters/preset) 2>/dev/null; then
	ktap_fail "preset can't be written"
else
	ktap_ok "preset can't be written"
fi

check "a number" set_to pass_interval_ms 500 500
check "... in hex, with a newline" set_to pass_interval_ms "0x20
" 32
check "a word" set_to release never "lazy [never]"
check "wrong words are refused" refuses release " " lazynever "[lazy]" 1 \
	"lazy never" eager "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
check "wrong numbers are refused" refuses pass_interval_ms " " 9 60001 -1 \
	4294967306 99999999999999999999 1e3 "10 20" "10x" x \
	0000000000000000000000000000000000000000000000010

check_audit policy
check "offline and rmmod" unload
ktap_done
