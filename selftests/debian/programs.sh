#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Debian's programs on tagged heap, while more memory is used than there is: stress-ng,
# SQLite and Redis, each of which looks at its own data.
#
# usage: programs SECONDS

. ./lib.sh
. ./heap

seconds=${1:-40}
ktap_plan 16

# What has been set up before anybody asked
loaded_at_boot() {
	mts_loaded && [ "$(sed -n 's/.*\[\(.*\)\].*/\1/p' "$MTS_SYSFS/state")" = online ] &&
		modinfo -F filename mte_tag_storage
}
# check_booted DESC CMD...
check_booted() {
	if booted; then
		check "$@"
	else
		ktap_skip "$1" "not Debian's kernel"
	fi
}
check_booted "the module has been loaded at boot, from its package" loaded_at_boot
mts_settle
as_debian() {
	[ "$(cat /sys/kernel/mm/lru_gen/enabled)" != 0x0000 ] &&
		grep '\[always\]' /sys/kernel/mm/transparent_hugepage/enabled &&
		grep -w memory /sys/fs/cgroup/cgroup.controllers &&
		grep -E 'CONFIG_(NUMA|EFI|LRU_GEN|MEMCG|MODULE_SIG|TAG_STORAGE)=y' \
			"/boot/config-$(uname -r)" | tee /run/config &&
		[ "$(wc -l </run/config)" = 6 ]
}
check_booted "the kernel is as Debian configures it" as_debian
check "glibc tags the heap" heap_is_tagged
check "swap" swap_on
total=$(meminfo MemTotal)
echo "# MemTotal $total KiB, MemAvailable $(meminfo MemAvailable) KiB," \
	"carve-out: $(sysfs released_used_bytes) bytes used, $(sysfs released_free_bytes) free," \
	"$(sysfs reserved_bytes) reserved"

redis_pid=
digest=
if booted; then
	check_here "Redis starts" redis_start
	redis debug populate 150000 key 120 >/dev/null
	digest=$(redis debug digest)
else
	ktap_skip "Redis starts" "a kernel without sockets"
fi
rows=8000
sqlite_round $rows >/run/sqlite.first

# A third of memory is what stress-ng takes for data, twice: more than there is
end=$(($(date +%s) + seconds))
(tag_heap && stress "$seconds" --malloc 2 --malloc-bytes $((total / 5))K --malloc-touch) &
stress_heap=$!
stress "$seconds" --vm 2 --vm-bytes $((total * 7 / 10))K --vm-keep &
stress_vm=$!
(
	status=0
	rounds=0
	while [ "$(date +%s)" -lt $end ]; do
		sqlite_round $rows >/run/sqlite.now && cmp /run/sqlite.first /run/sqlite.now >&2 ||
			status=1
		rounds=$((rounds + 1))
	done
	echo "$rounds" >/run/sqlite.rounds
	exit $status
) &
sqlite=$!
(
	status=0
	booted || exit 0
	while [ "$(date +%s)" -lt $end ]; do
		redis-benchmark -s "$SOCKET" --dbnum 1 -n 5000 -r 50000 -d 100 -P 16 -q -t set,get,lpush,lpop \
			>/run/redis.benchmark 2>&1 || status=1
		redis bgsave >/dev/null
	done
	exit $status
) &
clients=$!

least=$total
most_tagged=0
most_reserved=0
most_used=0
while [ "$(date +%s)" -lt $end ]; do
	sleep 2
	now=$(meminfo MemAvailable)
	[ "$now" -ge "$least" ] || least=$now
	now=$(tagged_kib)
	[ "$now" -le "$most_tagged" ] || most_tagged=$now
	now=$(sysfs reserved_bytes)
	[ "$now" -le "$most_reserved" ] || most_reserved=$now
	now=$(sysfs released_used_bytes)
	[ "$now" -le "$most_used" ] || most_used=$now
done

# ended WHAT PID
ended_well() {
	_rc=0
	wait "$2" || _rc=$?
	if [ $_rc -eq 0 ]; then
		ktap_ok "$1"
	else
		ktap_fail "$1" "exit status $_rc"
	fi
}
ended_well "stress-ng has found its heap as it left it" $stress_heap
ended_well "stress-ng has found its data as it left it" $stress_vm
ended_well "SQLite's data bases are whole, and the same each time" $sqlite
echo "# $(cat /run/sqlite.rounds) data bases of SQLite"
redis_whole() {
	redis -n 1 flushdb >/dev/null
	[ "$(redis debug digest)" = "$digest" ] && redis debug reload && [ "$(redis debug digest)" = "$digest" ]
}
if booted; then
	ended_well "Redis has answered" $clients
	check "Redis has all it had, after writing it out and reading it, too" redis_whole
	kill "$redis_pid"
	ended_well "Redis ends" "$redis_pid"
else
	for what in "Redis has answered" "Redis has all it had" "Redis ends"; do
		ktap_skip "$what" "a kernel without sockets"
	done
fi

echo "# MemAvailable down to $least KiB, tagged up to $most_tagged KiB, pages swapped out:" \
	"$(vmstat pswpout), in: $(vmstat pswpin)"
echo "# tag storage, bytes: up to $most_reserved reserved for tags, up to $most_used used for data"
was_full() {
	[ "$(vmstat pswpout)" -gt 1000 ] && [ "$most_tagged" -gt $((total / 10)) ]
}
check "memory was full, and a tenth of it had tags" was_full
used_both() {
	[ "$most_reserved" -gt 0 ] && [ "$most_used" -gt 0 ]
}
check "tag storage was used for both" used_both
check "no tag storage is bad" test "$(sysfs bad_bytes)" = 0
check "every page of the machine is what it should be" audit programs --busy
come_back() {
	mts_release
	[ "$(sysfs reserved_bytes)" -lt $((most_reserved / 4)) ]
}
check "most of it comes back" wait_for 20 come_back
ktap_done
