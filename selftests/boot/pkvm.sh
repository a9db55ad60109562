#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A hypervisor that takes memory from the kernel (pKVM): who touches that memory ends
# in a panic. Its tags are never cleaned nor looked at, and all else works.
#
# Blocks whose pages can have been donated to it stay reserved, so mts_audit, for
# which each reserved block has tags, isn't asked.

. ./lib.sh

# Where the hypervisor has its own memory, in bytes
hypervisor() {
	dmesg | sed -n 's/.*kvm \[0\]: Reserved [0-9]* MiB at \(0x[0-9a-f]*\).*/\1/p'
}

# state_of BLOCK: of the first region
state_of() {
	awk -v b="$1" '$1 == 0 && $2 <= b && b < $2 + $3 { print $4 }' "$MTS_DEBUGFS/blocks"
}

# The storage of its memory comes and goes as any other
its_block() {
	_pfn=$(($(hypervisor) / $(./mts_tool page)))
	_unit=$(($(cat "$MTS_DEBUGFS/regions/0/block_bytes") * 32))
	_first=$(sed 's/-.*//' "$MTS_DEBUGFS/regions/0/tagged_memory")
	_block=$((($(hypervisor) - _first) / _unit))
	[ "$(state_of "$_block")" = released ] || { state_of "$_block"; return 1; }
	trigger reserve "$_pfn" || { echo "reserve $_pfn failed"; return 1; }
	[ "$(state_of "$_block")" = reserved ] || { state_of "$_block"; return 1; }
	# How many others are reserved changes: insmod's first releases may go on
	trigger release 1 || { echo "release failed"; return 1; }
	[ "$(state_of "$_block")" = released ] || { state_of "$_block"; return 1; }
}

# All blocks are looked at, those of its memory as well
scrub_check() {
	trigger scrub_check 4096 || return 1
	echo "$(mts_stat scrub_checked) checked, $(mts_stat scrub_failed) failed"
	[ "$(mts_stat scrub_failed)" = 0 ] && [ "$(mts_stat scrub_checked)" -ge 3000 ]
}

# run PROGRAM: what it reports as remarks
run() {
	_code=0
	"./$1" >/tmp/report 2>&1 || _code=$?
	cat /tmp/report
	return "$_code"
}

ktap_plan 11
check "the hypervisor has memory of its own" [ -n "$(hypervisor)" ]
total=$(meminfo MemTotal)
check "the module loads" mts_load
check "a block that serves it is reserved and released" its_block
check "the scrub check leaves it alone" scrub_check
for program in mts_touch mts_mprotect mts_fork; do
	check "$program" run $program
done
check "the scrub check again" scrub_check
check "all tables are right" trigger audit 1
check "offline" wait_for 20 mts_offline
unloaded() {
	mts_unload && [ "$(meminfo MemTotal)" = "$total" ]
}
check "all is as before" unloaded
ktap_done
