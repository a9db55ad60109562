#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The story of `make run`: tag storage becomes memory, is taken back block by
# block as a program tags memory, and becomes memory again.

. ./lib.sh
. ./hold

mib=${1:-16}

say() {
	echo "$*"
}

fail() {
	say "FAILED: $*"
	exit 1
}

kib() {
	echo $(($(mts_stat "$1") / 1024))
}

finish() {
	hold_finish "$1" && return
	hold_report "$1"
	fail "$2"
}

bytes=$(./mts_tool geometry | sed -n 's/^total .*bytes=\([0-9]*\)/\1/p')
[ "${bytes:-0}" -gt 0 ] || fail "the firmware describes no tag storage"
before=$(meminfo MemTotal)
say "Tag storage carve-out:      $((bytes / 1024)) KiB, set aside by the firmware, idle"
say "MemTotal before insmod:     $before KiB"
mts_load || fail "insmod"
after=$(meminfo MemTotal)
say "MemTotal after insmod:      $after KiB  (+$((after - before)) KiB)"
say "  released for data:        $(kib released_bytes) KiB ($(kib released_free_bytes) KiB free), reserved for tags: $(kib reserved_bytes) KiB," \
	"static: $(kib static_bytes) KiB"

say
say "A program fills memory with data."
hold_start 5 fill || fail "fill"
in_use=$(hold_field kib 5)
say "  data in tag storage:      $in_use KiB  ($(hold_field pages 5) pages with known contents)"
say "  of what is released:      $(kib released_used_bytes) KiB used, $(kib released_free_bytes) KiB free"
[ "$(kib released_used_bytes)" -ge "$in_use" ] || fail "released_used_bytes is less than that"
[ "$in_use" -gt 0 ] || fail "no data in tag storage"

say
say "Another program tags $mib MiB and checks every tag."
# So that the numbers add up: nothing is released meanwhile
echo never >"$MTS_DEBUGFS/policy/release"
mts_release
reserved=$(mts_stat blocks_reserved)
fast0=$(mts_stat reserve_fast)
moved0=$(($(mts_stat reserve_moved) + $(mts_stat reserve_slow)))
hold_start 6 hold "$mib" || fail "hold"
# Somebody may still be about to reserve one
adds_up() {
	now=$(mts_stat blocks_reserved)
	fast=$(($(mts_stat reserve_fast) - fast0))
	moved=$(($(mts_stat reserve_moved) + $(mts_stat reserve_slow) - moved0))
	[ $((fast + moved)) = $((now - reserved)) ]
}
wait_for 5 adds_up || wrong=sum
say "  tag blocks reserved:      $reserved before, $now now  ($(hold_field blocks 6) hold its tags)"
[ "$now" -ge "$reserved" ] || fail "no block was reserved"
say "  of those:                 $fast were free, from $moved data was moved away first"
[ -z "${wrong:-}" ] || fail "the numbers don't add up"
echo lazy >"$MTS_DEBUGFS/policy/release"
finish 6 "the tags"
say "  its tags and data:        intact"
finish 5 "the data in tag storage"
say "  the other one's data:     intact"

say
say "Both have ended."
mts_release || fail "release"
say "  tag blocks reserved:      $(mts_stat blocks_reserved), released again: $(kib released_bytes) KiB"
[ "$(mts_stat blocks_reserved)" -lt "$now" ] || fail "no block came back"

say
wait_for 20 mts_offline || fail "offline"
say "MemTotal after offline:     $(meminfo MemTotal) KiB"
mts_unload || fail "rmmod"
[ "$(meminfo MemTotal)" = "$before" ] || fail "MemTotal is not what it was"
say "ok"
