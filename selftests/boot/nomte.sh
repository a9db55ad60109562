#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A machine whose memory can't have tags: all of the tag storage is lent. Life
# cycle, with data in it.

. ./lib.sh
. ./hold

says() {
	dmesg | grep 'mte_tag_storage: MTE is absent or disabled'
}

no_mte() {
	! grep '^Features.* mte' /proc/cpuinfo
}

# Nothing is ever reserved: not by hand either, and there are no tags to check.
triggers() {
	_pfn=$(($(sed 's/-.*//' "$MTS_DEBUGFS/regions/0/tagged_memory") / $(./mts_tool page)))
	! trigger reserve $((_pfn + 4096)) || return 1
	! trigger scrub_check 1 || return 1
	trigger release 1 && trigger evacuate 1 || return 1
	[ "$(mts_stat blocks_reserved)" = 0 ]
}

fill() {
	hold_start 5 fill || return 1
	_kib=$(hold_field kib 5)
	echo "# $_kib KiB of data in tag storage"
	# The kernel's own balance decides how much: half of what is free
	[ "$_kib" -gt $((grown / 4)) ]
}

intact() {
	hold_finish 5 || {
		hold_report 5
		return 1
	}
}

before() {
	[ "$(meminfo MemTotal)" = "$total" ] && [ "$(meminfo CmaTotal)" = "$cma" ]
}

ktap_plan 18
check "the CPUs have no MTE to use" no_mte
total=$(meminfo MemTotal)
cma=$(meminfo CmaTotal)
bytes=$(./mts_tool geometry | sed -n 's/^total .*bytes=\([0-9]*\)/\1/p')

check "the module loads" mts_load
check "a message says so" says
equal "the kernel's hooks are off" 0 "$(./mts_tool key tag_storage_key)"
grown=$(($(meminfo MemTotal) - total))
equal "the carve-out is what the firmware says" "$bytes" "$(mts_stat carveout_bytes)"
equal "MemTotal grows by all that is not static" \
	"$((($(mts_stat carveout_bytes) - $(mts_stat static_bytes)) / 1024))" "$grown"
equal "no block is reserved" 0 "$(mts_stat blocks_reserved)"
equal "all others are lent" $((grown * 1024)) "$(mts_stat released_bytes)"
check "triggers" triggers
check_here "data in much of it" fill
equal "... and no block was reserved for anybody" 0 "$(mts_stat blocks_reserved)"
check "offline, with the data" wait_for 60 mts_offline
check_here "... which are intact" intact
check "all is as before" before
check "online again" mts_online
equal "all of it is lent again" $((grown * 1024)) "$(mts_stat released_bytes)"
check_audit nomte
again() {
	unload && before && mts_load && unload && before
}
check "rmmod, insmod, rmmod" again
ktap_done
