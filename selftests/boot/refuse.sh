#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The module refuses what it can't drive: insmod fails with the right errno and
# one message that says why, and nothing else changes.
#
# usage: refuse CASE ERRNO MESSAGE [PARAMETER]
#        refuse good KIB MESSAGE [PARAMETER]
#
# MESSAGE is part of the one line the module is to print, with "_" for a space and
# "+" for a comma: arguments come from the kernel's command line. In PARAMETER, of
# insmod, ";" is a comma. CASE is only told; scripts/check/refuse boots each case of
# dts/bad/expect this way. CASE "good": the module must accept it, lend at least
# KIB of tag storage and print MESSAGE, if that isn't "-".
#
# shellcheck disable=SC1091 # lib.sh is beside it in the guest

. ./lib.sh

name=$1
errno=$2
message=$(echo "$3" | tr '_+' ' ,')
param=$(echo "${4:-}" | tr ';' ',')

# Everything an insmod could have changed and that doesn't change by itself.
snapshot() {
	grep -E '^(MemTotal|CmaTotal):' /proc/meminfo
	grep -E '^Node|^ +(spanned|present|managed|cma) ' /proc/zoneinfo
	cat /proc/modules /proc/iomem
	ls /sys/kernel/mm/cma /sys/kernel/debug/cma 2>/dev/null
	ls -d /sys/module/mte_tag_storage /sys/kernel/debug/mte_tag_storage \
		/proc/mte_tag_storage 2>/dev/null
}

# new_lines SINCE: kernel messages after the first SINCE, each with its <level>.
# Not counted: the notices that any first module out of the kernel's tree gets, what
# an emulator on a busy host brings about, and what the kernel says of a reg by itself.
new_lines() {
	dmesg -r | tail -n "+$(($1 + 1))" |
		grep -vE 'loading out-of-tree module taints kernel|module verification failed' |
		grep -vE 'hrtimer: interrupt took|clocksource: |OF: size of reg '
}

# BusyBox's insmod has a second way to load a module, and takes it when the first
# fails: two attempts, two messages. A pipe leaves it the second way only.
insmod_once() {
	# shellcheck disable=SC2002 # a file on standard input would not do
	cat "$MTS_KO" | insmod /proc/self/fd/0 ${param:+"$param"}
}

# try TEXT: one insmod that must be refused, three results.
try() {
	since=$(dmesg -r | wc -l)
	snapshot >/tmp/before
	said=$(insmod_once 2>&1)
	status=$?
	snapshot >/tmp/after
	new_lines "$since" >/tmp/lines

	if [ "$status" -eq 0 ]; then
		ktap_fail "$1: insmod fails with $errno" "it succeeded"
	else
		# BusyBox has words of its own for EINVAL.
		case $errno:$said in
		ENODEV:*": No such device" | EINVAL:*": invalid parameter" | \
		EINVAL:*": Invalid argument" | EBUSY:*": Device or resource busy" | \
		EBUSY:*": Resource busy" | \
		ENOEXEC:*": invalid module format" | ENOEXEC:*": Exec format error")
			ktap_ok "$1: insmod fails with $errno" ;;
		*)
			ktap_fail "$1: insmod fails with $errno" "$said" ;;
		esac
	fi

	# Level 3 is KERN_ERR. Anybody's line of level 0 to 4 is more than one message.
	if [ "$(grep -c 'mte_tag_storage: ' /tmp/lines)" -ne 1 ] ||
	   [ "$(grep -c '^<[0-4]>' /tmp/lines)" -ne 1 ] ||
	   ! grep '^<3>.*mte_tag_storage: ' /tmp/lines | grep -qF -- "$message"; then
		sed 's/^/# log: /' /tmp/lines
		ktap_fail "$1: one message" "expected one error: $message"
	else
		sed -n 's/^.*mte_tag_storage: /# log: /p' /tmp/lines
		ktap_ok "$1: one message"
	fi

	if cmp -s /tmp/before /tmp/after; then
		ktap_ok "$1: nothing changed"
	else
		diff /tmp/before /tmp/after | sed 's/^/# diff: /'
		ktap_fail "$1: nothing changed" "see the differences"
	fi
}

grown() {
	[ "$errno" = 0 ] || test "$(meminfo MemTotal)" -gt "$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /tmp/before)"
}

lent() {
	_n=$(($(mts_stat released_bytes) / 1024))
	echo "$_n KiB lent"
	[ "$_n" -ge "$errno" ]
}

says() {
	[ "$message" = - ] || dmesg | grep -F "mte_tag_storage: " | grep -F -- "$message"
}

# The map is what the machine has: tags and data live side by side. Where the
# description is another one than the tree's, the programs can't tell.
uses() {
	if ! grep -q '^Features.* mte' /proc/cpuinfo; then
		mkfifo /tmp/go || return 1
		./mts_tool fill 256 </tmp/go &
		echo go >/tmp/go
		wait $!
	elif [ "$message" = - ]; then
		./mts_touch
	fi
}

accept() {
	snapshot >/tmp/before
	check "the module loads" mts_load ${param:+"$param"}
	check "the message" says
	check "MemTotal grows" grown
	check "storage is lent" lent
	# Where nothing is to be had nothing can be used
	check "they can be used" "$([ "$errno" = 0 ] && echo true || echo uses)"
	# Not mts_audit: it has the geometry from the tree, which may be another one
	check "all tables are right" trigger audit 1
	check "offline" mts_offline
	check "the module unloads" mts_unload
	snapshot >/tmp/after
	check "all is as before" diff /tmp/before /tmp/after
}

if [ "$name" = good ]; then
	ktap_plan 9
	accept
else
	ktap_plan 6
	echo "# case $name"
	try first
	# A refusal that left something behind shows the second time.
	try again
fi
ktap_done
