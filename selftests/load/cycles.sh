#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# insmod, offline, rmmod, again and again, while the oracle works: no wrong byte,
# no wrong tag, no byte of memory lost.
#
# usage: cycles [CYCLES [OPTION of mts_oracle ...]]

. ./lib.sh

cycles=${1:-20}
[ $# -eq 0 ] || shift

# Two batches under the same load: what the load itself leaves behind in caches is
# there after the first one already.
measure() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
	sleep 1
	echo 3 >/proc/sys/vm/drop_caches
	total=$(meminfo MemTotal)
	cma=$(meminfo CmaTotal)
	slab=$(meminfo SUnreclaim)
	vmalloc=$(meminfo VmallocUsed)
	percpu=$(meminfo Percpu)
	# Page tables and stacks of who has just begun or ended are free some grace
	# periods later: nobody does while these look
	sleep 1
	# Free pages on the per-CPU lists, megabytes at times, count as used in
	# MemFree. One process reads both: pages go from one to the other.
	free=$(awk '$1 == "MemFree:" { n += $2 } $1 == "count:" { n += $2 * 4 }
		END { print n }' /proc/meminfo /proc/zoneinfo)
	sleep 1
	# In use, but not by processes, caches, slabs or page tables
	./mts_audit >/tmp/audit.out || {
		audit_failed="$audit_failed, $1"
		grep -E '^(# AUDIT|not ok)' /tmp/audit.out | sed 's/^# //; s/^/# /'
	}
	private=$(($(sed -n 's/^# private \([0-9]*\) pages/\1/p' /tmp/audit.out | tail -n 1) * 4))
	echo "# $1: MemTotal $total free $free SUnreclaim $slab" \
		"VmallocUsed $vmalloc Percpu $percpu private $private KiB"
}

# settled NAME: the best of some times, as what ended processes leave behind takes a
# while to go, and what nobody says that he uses differs from second to second
settled() {
	best_free=0
	best_private=999999999
	for _ in 1 2 3 4 5 6; do
		measure "$1"
		[ "$free" -le "$best_free" ] || best_free=$free
		[ "$private" -ge $best_private ] || best_private=$private
		sleep 1
	done
	free=$best_free
	private=$best_private
}

# One batch; the oracle ends when its input file does: by signal it could not
# report.
batch() {
	: >/tmp/go
	./mts_oracle --until=/tmp/go --seconds=300 "$@" >/tmp/oracle.out 2>&1 &
	oracle=$!
	usleep 500000
	done=0
	why=
	begin=$(cut -d. -f1 /proc/uptime)
	while [ $done -lt "$cycles" ]; do
		mts_load || { why="insmod"; break; }
		# Sometimes long enough for blocks to be reserved and released.
		[ $((done % 3)) -ne 0 ] || usleep 200000
		wait_for 30 mts_offline || { why="offline"; break; }
		# The oracle may be reading a file of the module.
		wait_for 30 mts_unload || { why="rmmod"; break; }
		done=$((done + 1))
	done
	echo "# $done cycles in $(($(cut -d. -f1 /proc/uptime) - begin)) s"
	rm /tmp/go
	wait $oracle
	status=$?
	sed 's/^/    /' /tmp/oracle.out
}

# kept DESC BEFORE AFTER LOSS ALLOWED: all in KiB
kept() {
	echo "# $1: $2 KiB, then $3 KiB"
	if [ "$4" -le "$5" ]; then
		ktap_ok "$1 is kept"
	else
		ktap_fail "$1 is kept" "$4 KiB lost, $5 KiB allowed"
	fi
}

ktap_plan 11
measure "at first"
total0=$total
cma0=$cma
for n in 1 2; do
	batch "$@"
	if [ -z "$why" ]; then
		ktap_ok "$done cycles under load, batch $n"
	else
		ktap_fail "$cycles cycles under load, batch $n" "$why failed in cycle $done"
	fi
	if [ $status -eq 0 ]; then
		ktap_ok "the oracle agrees, batch $n"
	else
		ktap_fail "the oracle agrees, batch $n" "exit status $status"
	fi
	if [ $n = 1 ]; then
		settled "after batch 1"
		free1=$free
		slab1=$slab
		vmalloc1=$vmalloc
		percpu1=$percpu
		private1=$private
	fi
done
settled "after batch 2"
if [ "$total $cma" = "$total0 $cma0" ]; then
	ktap_ok "MemTotal and CmaTotal are as before"
else
	ktap_fail "MemTotal and CmaTotal are as before" "$total0 $cma0, now $total $cma"
fi
# Tag storage that got lost would show in MemTotal, or offline would fail. What an
# idle system has free differs by a megabyte or two, and what nobody says that he
# uses by a few hundred KiB, with no module as well. A page lost in each cycle, of
# whatever block, is missing here and found there: the smaller difference counts.
# What differs by itself is pages, and larger with larger ones.
kept "free memory" "$free1" "$free" $((free1 - free)) \
	$((cycles * 64 + 16 * $(./mts_tool page) / 1024))
kept "unreclaimable slab" "$slab1" "$slab" $((slab - slab1)) $((cycles + 128))
kept "vmalloc space" "$vmalloc1" "$vmalloc" $((vmalloc - vmalloc1)) 64
grown=$((private - private1))
[ $grown -le $((free1 - free)) ] || grown=$((free1 - free))
kept "memory of nobody" "$private1" "$private" $grown $((cycles * 2))
if [ -z "$audit_failed" ]; then
	ktap_ok "what is free is what it should be"
else
	ktap_fail "what is free is what it should be" "not${audit_failed#,}"
fi
kept "per-CPU memory" "$percpu1" "$percpu" $((percpu - percpu1)) 0
ktap_done
