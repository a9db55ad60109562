#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The guest's part of B14 (scripts/bench-debian): one of Debian's programs on tagged
# heap, in memory that others have left.
#
# usage: fits PROGRAM FILL
#
# FILL is KiB of memory that somebody has locked, or "just": so much that what is left
# just fits. The program runs three times: for its files and what it needs, with nothing
# else in memory ("roomy"), and with that much locked ("full").
# Prints "B14 KEY VALUE". With -icount a nanosecond is an instruction.

. ./lib.sh
. ./heap

program=$1
fill=$2
# What stays free beyond what the program has been seen to need, and what the one that
# locks memory needs for itself, KiB
SLACK=4096
LOCKER=9216

tell() {
	echo "B14 $1 $2"
}

now() {
	date +%s%N
}

# With -icount the clock goes on while a CPU waits for the disk; in hundredths of a second
idle() {
	awk '$1 == "cpu" { print $5 + $6 }' /proc/stat
}

# Each prints what must be the same every time, and nothing else
work_sqlite3() {
	ops=60000
	sqlite_round $ops
}

work_redis() {
	ops=300000
	redis debug populate 150000 key 150 >/dev/null &&
		redis-benchmark -s "$SOCKET" --dbnum 1 -n 150000 -r 100000 -d 100 -P 32 -q \
			-t set,get >&2 && redis -n 1 flushdb >/dev/null && redis dbsize && redis debug digest
}

work_python3() {
	ops=80000
	env "$TAGGED" PYTHONMALLOC=malloc python3 -c '
import sys
n = int(sys.argv[1])
d = {"key%08d" % (i * 7919 % n): [i, str(i), float(i)] for i in range(n)}
for turn in range(3):
    keys = sorted(d, key=lambda k: d[k][1])
    for k in keys[::2]:
        d[k] = [d[k][0] + 1, str(d[k][0]), float(turn)]
print(len(d), sum(v[0] for v in d.values()))' $ops
}

# A function is an operation
work_gcc() {
	ops=60
	awk -v n=$ops 'BEGIN {
		for (i = 0; i < n; i++)
			printf "int f%d(int *p, int n)\n{\n\tint s = 0;\n\tfor (int i = 0; i < n; i++) {\n" \
			"\t\tif (p[i] %% %d == 0)\n\t\t\ts += p[i] * %d;\n\t\telse\n" \
			"\t\t\tp[i] ^= s >> %d;\n\t}\n\treturn s;\n}\n", i, i % 17 + 2, i, i % 7
	}' >/run/many.c
	env "$TAGGED" gcc -O2 -S -o - /run/many.c | cksum
}

# watch_memory PID FILE: least MemAvailable and most tagged memory until PID ends
watch_memory() {
	_least=$(meminfo MemAvailable)
	_most=0
	while kill -0 "$1" 2>/dev/null; do
		_now=$(meminfo MemAvailable)
		[ "$_now" -ge "$_least" ] || {
			_least=$_now
			_most=$(tagged_kib)
			[ ! -r "$MTS_SYSFS/reserved_bytes" ] || sysfs reserved_bytes >"$2.reserved"
		}
		echo "$_least $_most" >"$2"
		sleep 0.5
	done
}

redis_pid=
ops=0
if [ -d "$MTS_SYSFS" ]; then
	mts_settle
	tell lent $((($(sysfs released_bytes) + $(sysfs reserved_bytes)) / 1024))
fi
swap_on || exit 1
# Up to an eighth of memory is free but on a CPU's lists, and so not in MemAvailable
echo 100000 >/proc/sys/vm/percpu_pagelist_high_fraction

measure() {
	[ "$program" != redis ] || redis_start || return 1
	"work_$program" || return 1
	[ "$program" != redis ] || {
		redis shutdown nosave 2>/dev/null
		wait "$redis_pid"
	}
}

# Once for its files, and for what it needs
measure >/run/expected &
available=$(meminfo MemAvailable)
watch_memory $! /run/watched
wait $! || exit 1
sleep 3
read -r least most </run/watched
available_now=$(meminfo MemAvailable)
need=$((available - least))
tell available "$available_now"
tell total "$(meminfo MemTotal)"
tell need "$need"
tell tagged "$most"
# Of what is lent, for tags when memory was least
[ ! -d "$MTS_SYSFS" ] || tell reserved "$(($(cat /run/watched.reserved) / 1024))"

# turn NAME: the program once more, and what that took
turn() {
	_in=$(vmstat pswpin)
	_out=$(vmstat pswpout)
	_faults=$(vmstat pgmajfault)
	_idle=$(idle)
	_start=$(now)
	measure >/run/found || exit 1
	_end=$(now)
	_idle=$(($(idle) - _idle))
	tell "$1_swapins" $(($(vmstat pswpin) - _in))
	tell "$1_swapouts" $(($(vmstat pswpout) - _out))
	tell "$1_majfaults" $(($(vmstat pgmajfault) - _faults))
	tell "$1_ops" "$ops"
	tell "$1_ns" $((_end - _start - _idle * 10000000))
	tell "$1_idle_ms" $((_idle * 10))
	if ! cmp /run/expected /run/found >&2; then
		echo "! the results differ"
		exit 1
	fi
}
turn roomy

[ "$fill" != just ] || fill=$((available_now - need - SLACK - LOCKER))
tell fill "$fill"
mkfifo /run/filled
python3 -c '
import ctypes, mmap, sys, time
size = int(sys.argv[1]) << 10
memory = mmap.mmap(-1, size)
for at in range(0, size, 4096):
    memory[at:at + 8] = at.to_bytes(8, "little")
where = ctypes.addressof(ctypes.c_char.from_buffer(memory))
libc = ctypes.CDLL(None, use_errno=True)
if libc.mlock(ctypes.c_void_p(where), ctypes.c_size_t(size)):
    sys.exit("mlock: %d" % ctypes.get_errno())
with open("/run/filled", "w") as done:
    done.write("ok\n")
time.sleep(1e6)' "$fill" &
read -r answer </run/filled
[ "$answer" = ok ] || exit 1
tell left "$(meminfo MemAvailable)"
turn full
