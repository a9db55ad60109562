#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Memory that can't move, beside programs with and without tags, until who takes it
# is killed: there is more than without the module, as data make room for it by moving
# to tag storage.

. ./lib.sh
. ./hold

# room NAME: KiB. Somebody who has ended leaves long lists of the CPU behind.
room() {
	hold_start 7 data 160 && hold_finish 7
	check_here "$1: programs with tags" hold_start 5 hold 48
	check_here "$1: data" hold_start 6 data 96
	kib=$(./mts_tool unmovable)
	check_here "$1: who takes it is killed" [ $? -eq 0 ]
	echo "# $kib KiB"
	check_here "$1: the data are right" hold_finish 6
	check_here "$1: the tags are right" hold_finish 5
}

ktap_plan 15
echo always >/sys/kernel/mm/transparent_hugepage/enabled
room "without"
without=$kib
check "the module loads" mts_load
room "with the module"
moved=$(($(mts_stat balanced_pages) * $(./mts_tool page) / 1024))
echo "# $moved KiB moved to tag storage"
# A page moves once: to tag storage that was free
if [ "$moved" -le "$(meminfo CmaTotal)" ]; then
	ktap_ok "no page moves in vain"
else
	ktap_fail "no page moves in vain" "there are $(meminfo CmaTotal) KiB of tag storage"
fi
# From run to run it differs by a megabyte
if [ "$moved" -gt 0 ] && [ "$kib" -ge $((without + moved / 3)) ]; then
	ktap_ok "more fits"
else
	ktap_fail "more fits" "$kib KiB, $without without the module"
fi
check_audit unmovable
check "offline and rmmod" unload
ktap_done
