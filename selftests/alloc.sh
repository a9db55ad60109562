#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The second section of /proc/mte_tag_storage: who allocated the memory that has
# tags. With sysctl.vm.mem_profiling=1 on the kernel's command line.

. ./lib.sh
. ./hold

proc=/proc/mte_tag_storage

# tagged_sum COLUMN [PATTERN]
tagged_sum() {
	awk -v col="$1" -v pat="${2:-}" '/ tagged$/ && (pat == "" || $0 ~ pat) { n += $col }
		END { printf "%d\n", n }' $proc
}

# Nothing is allocated or freed meanwhile, but passes of the worker go on
pages_add_up() {
	for _i in 1 2 3 4 5; do
		_pages=$(mts_stat tagged_pages)
		_sum=$(tagged_sum 2)
		[ "$_sum" != "$_pages" ] || return 0
		sleep 1
	done
	echo "$_sum pages in the section, tagged_pages $_pages"
	return 1
}

# Every site of the section is one of /proc/allocinfo
sites_known() {
	awk '/ tagged$/ && $3 != "<unknown>" { print $3, $4 }' "$proc" >/tmp/sites
	[ -s /tmp/sites ] || {
		echo "no site"
		return 1
	}
	while read -r _place _func; do
		grep -F "$_place" /proc/allocinfo | grep -q -F "$_func" || {
			echo "$_place $_func is not in /proc/allocinfo"
			return 1
		}
	done </tmp/sites
}

if [ "$(cat /proc/sys/vm/mem_profiling 2>/dev/null)" != 1 ]; then
	ktap_plan 1
	ktap_skip "allocation sites" "the kernel does not profile allocations"
	ktap_done
fi

ktap_plan 10
check "the module loads" mts_load
check_here "a program with tagged memory" hold_start 5 hold 8
sed 's/^/# /' $proc
if [ "$(tagged_sum 2 func:vma_alloc_zeroed_movable_folio)" -ge 2048 ]; then
	ktap_ok "its pages are at the place where anonymous memory is allocated"
else
	ktap_fail "its pages are at the place where anonymous memory is allocated" "$(grep tagged $proc)"
fi
check "all pages with tags are somewhere" pages_add_up
if [ "$(tagged_sum 1)" = "$(($(tagged_sum 2) * $(./mts_tool page)))" ]; then
	ktap_ok "bytes and pages agree"
else
	ktap_fail "bytes and pages agree" "$(tagged_sum 1) $(tagged_sum 2)"
fi
check "the sites are the kernel's" sites_known
if [ "$(awk 'NR > 2 && !/ tagged$/ { n += $1 } END { printf "%d\n", n }' $proc)" = \
	"$(mts_stat reserved_bytes)" ]; then
	ktap_ok "the first section is all reserved storage"
else
	ktap_fail "the first section is all reserved storage" "reserved $(mts_stat reserved_bytes)"
fi
case $(sort -rn $proc | head -n 1) in
*tagged) ktap_ok "sort -rn works" ;;
*) ktap_fail "sort -rn works" "$(sort -rn $proc | head -n 1)" ;;
esac
check_here "the program ends" hold_finish 5
if [ "$(tagged_sum 2 func:vma_alloc_zeroed_movable_folio)" -lt 2048 ]; then
	ktap_ok "its pages are gone"
else
	ktap_fail "its pages are gone" "$(grep tagged $proc)"
fi
ktap_done
