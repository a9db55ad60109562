#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Memory of others inside of the memory served (no-map): the storage of its tags is
# never lent, and its tags are never cleaned, which would be a fault each.
#
# usage: foreign START SIZE	where that memory is, in bytes

. ./lib.sh

# states: how many blocks that serve the memory are in which state
states() {
	awk -v first="$1" -v last="$2" '$1 == 0 {
		a = $2 < first ? first : $2
		b = $2 + $3 - 1 > last ? last : $2 + $3 - 1
		if (a <= b) n[$4] += b - a + 1
	} END { for (s in n) print s, n[s] }' "$MTS_DEBUGFS/blocks"
}

kept() {
	[ "$(states "$first" "$last")" = "reserved $((last - first + 1))" ] || {
		states "$first" "$last"
		return 1
	}
}

# The pageblock beside it, of which it is a small part
lent() {
	[ "$(mts_stat blocks_reserved)" -lt $((last - first + 8)) ] || {
		echo "$(mts_stat blocks_reserved) blocks are reserved"
		return 1
	}
}

not_mapped() {
	awk -v start="$(printf '%08x' "$1")" '/System RAM/ {
		split($1, r, "-")
		if (r[1] <= start && start <= r[2]) bad = 1
	} END { exit bad }' /proc/iomem
}

ktap_plan 11
check "the memory is not the kernel's" not_mapped $(($1))
total=$(meminfo MemTotal)
check "the module loads" mts_load
memory=$(sed 's/-.*//' $MTS_DEBUGFS/regions/0/tagged_memory)
unit=$(($(cat $MTS_DEBUGFS/regions/0/block_bytes) * 32))
first=$((($1 - memory) / unit))
last=$((($1 + $2 - 1 - memory) / unit))
check "its $((last - first + 1)) blocks are reserved" kept
kib=$(((last - first + 1) * unit / 32 / 1024))
check "... and the log says how much, and why" \
	[ "$(dmesg_count "mte_tag_storage: $kib KiB of tag storage are kept reserved")" = 1 ]
check "others are not" lent
check "a release pass" mts_release
check "... and they still are" kept
# For mts_audit each reserved block has tags
check "all tables are right" trigger audit 1
check "offline" wait_for 20 mts_offline
check "the module unloads" mts_unload
if [ "$(meminfo MemTotal)" = "$total" ]; then
	ktap_ok "MemTotal is as before"
else
	ktap_fail "MemTotal is as before" "$(meminfo MemTotal) KiB, was $total"
fi
ktap_done
