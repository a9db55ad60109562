#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# No hibernation while tag storage is in use for data; offline, and without the
# module, hibernation is what it was. It stops half-way here (pm_test=freezer).

. ./lib.sh

if ! grep -qw disk /sys/power/state 2>/dev/null || [ ! -w /sys/power/pm_test ]; then
	ktap_skip_all "no hibernation in this kernel"
fi
echo freezer >/sys/power/pm_test
echo shutdown >/sys/power/disk

hibernate() {
	echo disk >/sys/power/state
}

vetoes() {
	dmesg_count 'mte_tag_storage: no hibernation while'
}

# froze: how often tasks were frozen
froze() {
	dmesg_count 'Freezing user space processes'
}

refused() {
	said=$(hibernate 2>&1) && return 1
	echo "$said"
	case $said in
	*"Resource busy"* | *"resource busy"*) return 0 ;;
	esac
	return 1
}

works() {
	./mts_touch >/tmp/touch.out 2>&1 || { cat /tmp/touch.out; return 1; }
}

ktap_plan 11
check "hibernation without the module" hibernate
check "the module loads" mts_load
before=$(froze)
check "hibernation fails with EBUSY" refused
check "again" refused
if [ "$(vetoes)" = 2 ] && [ "$(froze)" = "$before" ]; then
	ktap_ok "one message each, and nothing was frozen"
else
	ktap_fail "one message each, and nothing was frozen" \
		"$(vetoes) messages, frozen $before times, then $(froze)"
fi
check "tags work" works
check "offline" wait_for 20 mts_offline
check "hibernation offline" hibernate
check "online again" mts_online
check "tags work again" works
check_audit hibernate
ktap_done
