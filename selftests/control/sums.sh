#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Sums: whoever counts tag storage counts the same, idle, with tagged memory, full
# of data, while all of it changes, and after an offline that failed.
#
# usage: sums flags|table	where references to sites are expected

. ./lib.sh
. ./hold

where=${1:-flags}
proc=/proc/mte_tag_storage

proc_sum() {
	awk 'NR > 2 { n += $1 } END { printf "%d\n", n }' "$proc"
}

# Blocks of a state, in the files that know it
by_summary() {
	awk -v state="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == state) f = i - 1 }
		NR > 1 { n += $f } END { print n + 0 }' "$MTS_DEBUGFS/regions/summary"
}

by_states() {
	cat "$MTS_DEBUGFS"/regions/*/states | awk -v state="$1" '$1 == state { n += $2 }
		END { print n + 0 }'
}

by_blocks() {
	awk -v state="$1" '$4 == state { n += $3 } END { print n + 0 }' "$MTS_DEBUGFS/blocks"
}

by_region_blocks() {
	cat "$MTS_DEBUGFS"/regions/*/blocks | awk -v state="$1" '$3 == state { n += $2 }
		END { print n + 0 }'
}

cma_available() {
	cat /sys/kernel/mm/cma/mts-*/available_pages 2>/dev/null | awk '
		{ n += $1 } END { print n + 0 }'
}

zone_cma() {
	awk '$1 == "cma" { n += $2 } END { print n + 0 }' /proc/zoneinfo
}

# Everything that must be equal now. Nothing may change meanwhile.
agree() {
	# shellcheck disable=SC2013 # a word a line
	for state in $(sed -n 's/^blocks_\([a-z]*\) .*/\1/p' "$MTS_DEBUGFS/stats"); do
		[ "$state" != total ] || continue
		_n=$(mts_stat "blocks_$state")
		for by in by_summary by_states by_blocks by_region_blocks; do
			[ "$($by "$state")" = "$_n" ] || {
				echo "$state: stats $_n, $by $($by "$state")"
				return 1
			}
		done
	done
	[ "$(proc_sum)" = "$(mts_stat reserved_bytes)" ] || {
		echo "$proc $(proc_sum), reserved $(mts_stat reserved_bytes)"
		return 1
	}
	_blocks=$(awk 'NR > 2 { n += $2 } END { print n + 0 }' "$proc")
	[ "$_blocks" = $(($(mts_stat blocks_total) - $(mts_stat blocks_static) -
		$(mts_stat blocks_released) - $(mts_stat blocks_spare))) ] || {
		echo "$proc: $_blocks blocks"
		return 1
	}
	_kib=$((($(mts_stat carveout_bytes) - $(mts_stat static_bytes)) / 1024))
	[ "$(($(meminfo MemTotal) - total))" = "$_kib" ] || {
		echo "MemTotal $(meminfo MemTotal) - $total KiB, not static $_kib"
		return 1
	}
	[ "$(($(meminfo CmaTotal) - cma))" = "$_kib" ] || {
		echo "CmaTotal $(meminfo CmaTotal) - $cma KiB, not static $_kib"
		return 1
	}
	[ "$((($(zone_cma) - zone) * page_kib))" = "$_kib" ] || {
		echo "zoneinfo $((($(zone_cma) - zone) * page_kib)) KiB more, not static $_kib"
		return 1
	}
	[ "$(cma_available)" = 0 ] || {
		echo "cma_alloc() could have $(cma_available) pages"
		return 1
	}
}

# While blocks come and go: what one read tells is right in itself
steady() {
	for _i in 1 2 3 4 5 6 7 8 9 10; do
		awk '/^blocks_/ { if ($1 == "blocks_total") t = $2; else n += $2 }
			END { exit n != t }' "$MTS_DEBUGFS/stats" || {
			echo "blocks don't add up"
			return 1
		}
		awk 'NR > 2 && ($1 < 0 || $1 !~ /^[0-9]+$/) { bad = 1 } END { exit bad }' "$proc" || {
			cat "$proc"
			return 1
		}
	done
}

# Who holds storage: by function
held_by() {
	awk -v tag="func:$1" '$4 == tag { n += $1 } END { print n + 0 }' $proc
}

ktap_plan 20
page=$(./mts_tool page)
page_kib=$((page / 1024))
total=$(meminfo MemTotal)
cma=$(meminfo CmaTotal)
zone=$(zone_cma)
check "the module loads" mts_load
warned=$(dmesg_count "mte_tag_storage: references to .* don't fit")
case $where/$warned in
flags/0) ktap_ok "references are in page flags" ;;
table/1) ktap_ok "references are in a table, and it says so once" ;;
*) ktap_fail "references are in $where" "$warned warnings" ;;
esac
echo never >$MTS_DEBUGFS/policy/release
check "idle" agree
if [ "$(held_by mts_regions_register)" = "$(mts_stat reserved_bytes)" ]; then
	ktap_ok "what was tagged at insmod is the module's"
else
	ktap_fail "what was tagged at insmod is the module's" "$(cat $proc)"
fi

check_here "tagged memory" hold_start 5 hold 8
check "... adds up" agree
sed 's/^/# /' $proc
# By the next pass
counted() {
	[ "$(mts_stat tagged_pages)" -ge $((8 * 1024 / page_kib)) ]
}
check "... and its pages are counted" wait_for 10 counted
check_here "data in all of tag storage" hold_start 6 fill
check "... adds up" agree

# Storage that data is in is reserved: for 2048 pages from the first released block on
first=$(awk '$3 == "released" { print $1; exit }' "$MTS_DEBUGFS/regions/0/blocks")
start=$(($(sed 's/-.*//' $MTS_DEBUGFS/regions/0/tagged_memory) / page))
pages=$(($(cat $MTS_DEBUGFS/regions/0/block_bytes) / page * 32))
reserve() {
	echo "$((start + first * pages)) 2048" >"$MTS_DEBUGFS/trigger/reserve"
}
check "storage that is in use is reserved" reserve
check_here "tagged memory in its place" hold_start 7 hold 8
check "... adds up" agree
if [ "$(mts_stat migrated_pages)" -gt 0 ] && grep -qE '^reserve_(moved|slow) ' $MTS_DEBUGFS/latency; then
	ktap_ok "... pages were moved, and it took time"
else
	ktap_fail "... pages were moved, and it took time" "$(grep . $MTS_DEBUGFS/stats)"
fi
echo lazy >$MTS_DEBUGFS/policy/release
echo 0 >$MTS_DEBUGFS/policy/release_delay_ms
echo 10 >$MTS_DEBUGFS/policy/pass_interval_ms
./mts_smp 1 >/dev/null 2>&1 &
load=$!
check "sums while they change" steady
wait $load
check "... and what changed them went well" ended $?
ends() {
	hold_finish 5 && hold_finish 6 && hold_finish 7
}
check_here "the programs end" ends
echo never >$MTS_DEBUGFS/policy/release
settle() {
	mts_release && agree
}
check "... and it adds up" settle
check_audit sums
check "offline and rmmod" unload
if [ "$(meminfo MemTotal)" = "$total" ] && [ "$(zone_cma)" = "$zone" ]; then
	ktap_ok "the sums are as before"
else
	ktap_fail "the sums are as before" "MemTotal $(meminfo MemTotal), was $total"
fi
ktap_done
