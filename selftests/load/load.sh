#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Loading and unloading: what grows, what appears, what adds up, and that all of
# it goes away again.

. ./lib.sh

proc=/proc/mte_tag_storage

# refused DESC CMD...
refused() {
	_what=$1
	shift
	if _said=$("$@" 2>&1); then
		ktap_fail "$_what" "it succeeded"
	else
		echo "# $_said"
		ktap_ok "$_what"
	fi
}

cma_dirs() {
	ls -d /sys/kernel/mm/cma/mts-* 2>/dev/null | wc -l
}

# The pages that zones span, FIRST+COUNT
zones() {
	awk '$1 == "spanned" { spanned = $2 } $1 == "present" { present = $2 }
		$1 == "start_pfn:" && present { print $2 "+" spanned }' /proc/zoneinfo
}

# An area lies in one zone: how many of them does this range need? Bytes.
zones_of() {
	_page=$(./mts_tool page)
	_zones=0
	for _zone in $(zones); do
		_first=$((${_zone%+*} * _page))
		[ "$1" -ge $((_first + ${_zone#*+} * _page)) ] || [ "$2" -le $_first ] ||
			_zones=$((_zones + 1))
	done
	echo $_zones
}

# What can be lent: the whole pageblocks of each region; or how many areas that is
whole_pageblocks() {
	_pb=$(($(awk '$1 == "Pages" && $3 == "block:" { print $4; exit }' /proc/pagetypeinfo) *
		$(./mts_tool page)))
	_sum=0
	# shellcheck disable=SC2013 # a line is a word
	for _range in $(awk 'NR > 1 { print $2 }' $MTS_DEBUGFS/regions/summary); do
		_from=$(((${_range%-*} + _pb - 1) / _pb * _pb))
		_to=$((${_range#*-} / _pb * _pb))
		[ "$_to" -gt "$_from" ] || continue
		case ${1:-} in
		areas) _sum=$((_sum + $(zones_of $_from $_to))) ;;
		*) _sum=$((_sum + _to - _from)) ;;
		esac
	done
	echo "$_sum"
}

kib() {
	echo $(($(mts_stat "$1") / 1024))
}

# Pageblocks of CMA areas, of all zones
cma_pageblocks() {
	awk '/^Number of blocks/ { for (i = 5; i <= NF; i++) if ($i == "CMA") column = i }
		/^Node/ && !/type/ && column { n += $column } END { print n + 0 }' /proc/pagetypeinfo
}

gone() {
	[ "$(meminfo MemTotal)" = "$total" ] &&
		[ "$(meminfo CmaTotal)" = "$cma" ] &&
		[ "$(cma_pageblocks)" = "$pageblocks" ] &&
		[ "$(cma_dirs)" = 0 ]
}

ktap_plan 33

total=$(meminfo MemTotal)
cma=$(meminfo CmaTotal)
pageblocks=$(cma_pageblocks)
regions=$(./mts_tool geometry | sed -n 's/^total regions=\([0-9]*\) .*/\1/p')
bytes=$(./mts_tool geometry | sed -n 's/^total .*bytes=\([0-9]*\)/\1/p')

check "the module loads" mts_load
equal "it is online" online "$(mts_state)"
grown=$(($(meminfo MemTotal) - total))
echo "# MemTotal: $total KiB, $grown KiB more now"
grep -v '^mts-stats' $MTS_DEBUGFS/stats | sed 's/^/# /'

# What is registered: all but the static edges, reserved or not.
equal "MemTotal grows by all that is not static" \
	"$((($(mts_stat carveout_bytes) - $(mts_stat static_bytes)) / 1024))" "$grown"
equal "CmaTotal grows by the same" "$grown" "$(($(meminfo CmaTotal) - cma))"
equal "the bytes add up" "$(kib carveout_bytes)" \
	"$(($(kib released_bytes) + $(kib reserved_bytes) + $(kib static_bytes) + $(kib bad_bytes)))"
equal "the blocks add up" "$(mts_stat blocks_total)" \
	"$(awk '/^blocks_/ && $1 != "blocks_total" { n += $2 } END { print n + 0 }' $MTS_DEBUGFS/stats)"
equal "the carve-out is what the firmware says" "$bytes" "$(mts_stat carveout_bytes)"
equal "all whole pageblocks of it can be used" "$(whole_pageblocks)" \
	"$(($(mts_stat carveout_bytes) - $(mts_stat static_bytes)))"
equal "no bad blocks" 0 "$(mts_stat blocks_bad)"
# Nothing is tagged but the zero page: nearly all of it can be used.
lent=$((bytes - $(mts_stat static_bytes)))
if [ "$(mts_stat released_bytes)" -gt $((lent / 100 * 80)) ]; then
	ktap_ok "most of what isn't static is released"
else
	ktap_fail "most of what isn't static is released" "$(mts_stat released_bytes) of $lent bytes"
fi
equal "stats has its version line" "mts-stats 1" "$(head -n 1 $MTS_DEBUGFS/stats)"
equal "one line per region" "$regions" "$(($(wc -l <$MTS_DEBUGFS/regions/summary) - 1))"
equal "the runs of blocks cover all blocks" "$(mts_stat blocks_total)" \
	"$(awk '/^[0-9]/ { n += $3 } END { print n + 0 }' $MTS_DEBUGFS/blocks)"
equal "... and agree with the counts" "$(mts_stat blocks_reserved)" \
	"$(awk '/^[0-9]/ && $4 == "reserved" { n += $3 } END { print n + 0 }' $MTS_DEBUGFS/blocks)"
if [ "$(cma_dirs)" = "$(whole_pageblocks areas)" ]; then
	ktap_ok "CMA areas in sysfs: $(cma_dirs)"
elif grep -q mts.queue=needed /proc/cmdline; then
	ktap_skip "CMA areas in sysfs" "without the optional patches"
else
	ktap_fail "CMA areas in sysfs" "$(cma_dirs) instead of $(whole_pageblocks areas)"
fi
equal "blocks is for root only" "-r--------" \
	"$(ls -l $MTS_DEBUGFS/blocks | cut -c1-10)"
case $(head -n 1 $proc) in
"mte_tag_storage - version: "*) ktap_ok "$proc has its version line" ;;
*) ktap_fail "$proc has its version line" "$(head -n 1 $proc)" ;;
esac

refused "rmmod is refused while online" mts_unload
refused "a second insmod is refused" mts_load
refused "an unknown state is refused" sh -c "echo sideways >$MTS_DEBUGFS/state"
equal "... and changes nothing" online "$(mts_state)"
check "a release pass" mts_release

check "offline" wait_for 20 mts_offline
equal "the state says so" offline "$(mts_state)"
check "all is as before" gone
equal "all storage is static" "$(mts_stat blocks_total)" "$(mts_stat blocks_static)"
check "offline again is harmless" mts_offline
check "online again" mts_online
equal "the same memory comes back" "$grown" "$(($(meminfo MemTotal) - total))"

check_audit load
check "offline and rmmod" unload
if gone && [ ! -e $MTS_DEBUGFS ] && [ ! -e $proc ] && ! mts_loaded; then
	ktap_ok "nothing is left"
else
	ktap_fail "nothing is left" \
		"MemTotal $(meminfo MemTotal), was $total; CMA pageblocks $(cma_pageblocks), $pageblocks"
fi
again() {
	mts_load && unload && gone
}
check "a second round" again
ktap_done
