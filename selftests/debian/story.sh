#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The story of `make run GUEST=debian`: a Debian machine whose module was loaded at
# boot, a program of Debian's on tagged heap, and what sysfs says of it.

. ./lib.sh
. ./heap

say() {
	echo "$*"
}

fail() {
	say "FAILED: $*"
	exit 1
}

numbers() {
	for _file in carveout static released_used released_free reserved; do
		printf '  %-22s %6d KiB\n' "$_file" $(($(sysfs ${_file}_bytes) / 1024))
	done
}

say "$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release), Linux $(uname -r)"
mts_loaded || fail "the module was not loaded at boot"
mts_settle
if booted; then
	dpkg-query -W 'mte-tag-storage-*' | awk 'NF == 2 { print "  package " $1 " " $2 }'
	say "  loaded at boot: $(modinfo -F filename mte_tag_storage)"
fi
say "MemTotal $(meminfo MemTotal) KiB. $MTS_SYSFS:"
numbers
say
swap_on || fail "swap"
heap_is_tagged || fail "glibc doesn't tag the heap"
say "SQLite with $TAGGED:"
sqlite_round 60000 >/run/first &
sleep 2
most=0
while kill -0 $! 2>/dev/null; do
	now=$(tagged_kib)
	[ "$now" -le "$most" ] || {
		most=$now
		numbers >/run/numbers
	}
	sleep 0.3
done
wait $! || fail "sqlite3"
say "  its data base is $(head -n 1 /run/first); memory with tags: up to $most KiB"
cat /run/numbers
say
say "stress-ng on tagged heap, and more data than there is memory, for 10 seconds:"
(tag_heap && stress 10 --malloc 1 --malloc-bytes 64M --malloc-touch) &
heap=$!
stress 10 --vm 1 --vm-bytes $(($(meminfo MemTotal) * 9 / 10))K --vm-keep &
data=$!
sleep 8
numbers
say "  MemAvailable $(meminfo MemAvailable) KiB, swapped out $(vmstat pswpout) pages"
wait $heap || fail "stress-ng, heap"
wait $data || fail "stress-ng, data"
say "  both have verified what they wrote"
say
wait_for 20 sh -c "echo 1 >$MTS_DEBUGFS/trigger/release; [ \$(cat $MTS_SYSFS/reserved_bytes) -lt 1048576 ]" ||
	fail "tag storage was not released"
say "They are gone, and their tag storage is memory again:"
numbers
