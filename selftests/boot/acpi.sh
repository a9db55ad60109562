#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A machine that UEFI firmware starts, with ACPI and without a device tree: ranges=
# tells where the tag storage is, and firmware keeps it from the kernel.

. ./lib.sh

acpi() {
	[ -d /sys/firmware/efi ] && [ -f /sys/firmware/acpi/tables/APIC ]
}

no_tree() {
	[ ! -e /proc/device-tree ] && [ ! -e /sys/firmware/devicetree/base ]
}

# within WHAT: is the first carve-out in one range of /proc/iomem that is called so?
within() {
	_first=${MTS_RANGES%%+*}
	_size=${MTS_RANGES#*+}
	_last=$((_first + ${_size%%@*} - 1))
	awk -v first="$(printf '%08x' "$((_first))")" -v last="$(printf '%08x' "$_last")" \
		-v what=" : $1\$" '$0 ~ what {
		split($1, r, "-")
		if (r[1] <= first && last <= r[2]) found = 1
	} END { exit !found }' /proc/iomem && return
	cat /proc/iomem
	return 1
}

trusted() {
	[ "$(dmesg_count 'mte_tag_storage: ranges: there is no device tree .*; trusting it')" = 1 ]
}

# As the carve-out is whole pageblocks, all of it is lent but for what is needed
lent() {
	echo "$(mts_stat released_bytes) of $(mts_stat carveout_bytes) bytes are released"
	[ "$(mts_stat static_bytes)" = 0 ] &&
		[ "$(mts_stat released_bytes)" -gt $(($(mts_stat carveout_bytes) / 10 * 9)) ] &&
		[ $(($(meminfo MemTotal) - total)) = $(($(mts_stat carveout_bytes) / 1024)) ]
}

# What firmware runs while the kernel does is in memory that is served, and isn't the
# kernel's: nothing of that may be lent
kept() {
	[ "$(dmesg_count 'mte_tag_storage: [1-9][0-9]* KiB of tag storage are kept reserved')" = 1 ]
}

ktap_plan 14
check "the machine has UEFI and ACPI" acpi
check "there is no device tree" no_tree
check "the kernel knows the tag storage as RAM" within "System RAM"
check "... that is reserved" within reserved
total=$(meminfo MemTotal)
check "the module loads" mts_load
check "... and says that it trusts ranges=" trusted
check "... and keeps the storage of firmware's own memory" kept
check "all other tag storage is lent" lent
check "tags work" ./mts_touch
check_audit mts_touch
check "offline" wait_for 20 mts_offline
check "the module unloads" mts_unload
equal "MemTotal is as before" "$total" "$(meminfo MemTotal)"
check "the tag storage is still reserved" within reserved
ktap_done
