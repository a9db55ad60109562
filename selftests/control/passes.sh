#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# When there is a pass, and what it does by the policy: none without tags; nothing is
# released that the policy keeps, not under pressure either; what is reserved ahead is
# counted, is nothing that never has tags, and comes back.

. ./lib.sh
. ./hold
. ./knobs

# same KEY SECONDS: it doesn't grow meanwhile
same() {
	_before=$(mts_stat "$1")
	sleep "$2"
	[ "$(mts_stat "$1")" = "$_before" ] || {
		echo "$1: $_before, then $(mts_stat "$1")"
		return 1
	}
}

# Some passes that find nothing to do
passes_end() {
	wait_for 20 same release_passes 3
}

more_passes() {
	[ "$(mts_stat release_passes)" -ge $((_before + 3)) ]
}

# A CPU that sleeps needs no pass: to look keeps the machine awake
passes_go_on() {
	_before=$(mts_stat release_passes)
	wait_for 10 more_passes
}

# 8 MiB are tagged for a moment
tag_and_end() {
	hold_start 5 hold 8 && [ "$(reserved)" -gt "$base" ] && hold_finish 5
}

# Memory is scarce, as far as the watermarks know, and shrinkers are asked
pressure() {
	_kib=$(cat /proc/sys/vm/min_free_kbytes)
	echo $(($(meminfo MemFree) * 3 / 5)) >/proc/sys/vm/min_free_kbytes
	for _i in 1 2 3 4 5 6 7 8 9 10; do
		echo 2 >/proc/sys/vm/drop_caches
		usleep 100000
	done
	echo "$_kib" >/proc/sys/vm/min_free_kbytes
}

# Under pressure nothing is released
stays() {
	_released=$(mts_stat released)
	pressure
	[ "$(mts_stat released)" = "$_released" ] || {
		echo "$(($(mts_stat released) - _released)) blocks were released"
		return 1
	}
}

# Blocks that are held for tags; what is closing may become reserved again, uncounted
held() {
	echo $(($(reserved) + $(mts_stat blocks_closing)))
}

# As many blocks as are held now and were not, or were released again, have been counted
counted() {
	_taken=$(($(mts_stat taken_back) - taken))
	_fast=$(($(mts_stat reserve_fast) + $(mts_stat reserve_moved) + $(mts_stat reserve_slow) - faults))
	_released=$(($(mts_stat released) - released))
	[ $((_taken + _fast)) = $(($(held) - before + _released)) ] || {
		echo "$((_taken + _fast)) counted, $(($(held) - before)) more held, $_released released"
		return 1
	}
}

settled() {
	[ "$(mts_stat blocks_closing)" = 0 ] && [ "$(mts_stat blocks_changing)" = 0 ]
}

# No more is reserved than at the beginning, nor about to be released
lent_again() {
	at_most "$base" && settled
}

note_counts() {
	before=$(held)
	taken=$(mts_stat taken_back)
	faults=$(($(mts_stat reserve_fast) + $(mts_stat reserve_moved) + $(mts_stat reserve_slow)))
	released=$(mts_stat released)
}

ktap_plan 29
check "the module loads" mts_load
mts_release
base=$(reserved)
spare=$(mts_stat blocks_spare)
check "nothing has tags: the passes end" passes_end
check_here "a program tags memory" hold_start 5 hold 1
check "... there are passes again" passes_go_on
check_here "... it ends" hold_finish 5
check "... its blocks are released" wait_for 20 at_most "$base"
check "... and the passes end" passes_end

knob release_delay_ms 60000
check_here "memory is tagged for a moment" tag_and_end
released_by_pressure() {
	pressure
	wait_for 20 at_most "$base"
}
check "pressure releases it" released_by_pressure

# One of 16 pages stays: what is sparse could be emptied
knob release never
check_here "release=never: sparse blocks, and some without tags" hold_start 6 hold 32 16
check_here "..." tag_and_end
# Not even what a pass that found some of it sparse had to empty
check "... passes release nothing" same released 4
check "... pressure neither" stays
check_here "... the tags are right" hold_finish 6
check "... by hand all is released" mts_release
check "... all of it" wait_for 5 lent_again
knob release lazy
knob release_delay_ms 2000

note_counts
knob data_use off
check "data_use=off: all is reserved" wait_for 40 few_released
check "... and counted" wait_for 5 counted
check "... pressure releases nothing" stays
knob data_use balanced
check "data_use=balanced: it is lent again" wait_for 40 lent_again

knob reserve at-first-use
check "reserve=at-first-use: nothing has tags, nothing is reserved" same blocks_reserved 2
note_counts
check_here "... a page has" hold_start 5 hold 1
check "... all is reserved" wait_for 40 few_released
check "... and counted" wait_for 5 counted
if [ "$(mts_stat blocks_spare)" = "$spare" ]; then
	ktap_ok "... but for what never has tags"
else
	ktap_fail "... but for what never has tags" "$(mts_stat blocks_spare) spare blocks of $spare"
fi
check "... pressure releases nothing" stays
last_use() {
	hold_finish 5 && wait_for 40 lent_again
}
check_here "... and it is lent again when nothing has tags" last_use
check_audit passes
check "offline and rmmod" unload
ktap_done
