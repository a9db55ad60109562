#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A random mixture from a seed: programs of the selftests one after the other, half
# of the time beside the oracle, while something disturbs them all the time:
# compaction, dropped caches, KSM, allocation from an ordinary CMA area, release
# passes, CPUs that go and come, programs that are killed or stopped, and beside the
# oracle also going offline and online, the OOM killer, memory cgroups, memory
# failures, other policies, failures of the module's operations. The seed chooses what
# is run and in which order; what then happens at the same time it can't choose.
#
# usage: torture SEED SECONDS
#
# Started by scripts/torture, not by make test.

. ./lib.sh

seed=$1
seconds=$2

# below N: the next random number less than N in $rnd
below() {
	state=$(((state * 1103515245 + 12345) & 0x7fffffff))
	rnd=$(((state >> 8) % $1))
}
state=$seed
below 2

# Programs that leave room for others; and those that fill memory themselves, or
# count the blocks that they alone have reserved
beside="mts_fork mts_ptrace mts_smp=1 mts_split mts_compact"
alone="mts_touch mts_folio mts_zeropage mts_uffd mts_kill mts_mprotect mts_ksm mts_gup
	mts_collapse mts_wp mts_swap=zram mts_swap=file mts_swap=disk
	mts_cache"

# Of memory, for the oracle; a debug kernel is slow
percent=25
if [ -e /sys/kernel/debug/kmemleak ]; then
	percent=8
	# The kernel that it is tested on
	alone="$alone mts_nomem"
fi

cma=/sys/kernel/debug/cma/reserved
cma_used=$(cat $cma/used 2>/dev/null)
trouble=

# pick WORD...: one of them, in $word
pick() {
	below $#
	shift "$rnd"
	word=$1
}

# Hundredths of a second since boot
now() {
	read -r up _ </proc/uptime
	echo "${up%.*}${up#*.}"
}

# ended_well WHAT STATUS [SIGNAL]: a process of the disturber has seen nothing wrong
ended_well() {
	[ "$2" -eq 0 ] || [ "$2" -eq $((128 + ${3:-0})) ] || echo "$1($2)" >>/tmp/disturber.bad
}

# A CPU goes, or one that has gone comes back
switch_cpu() {
	# shellcheck disable=SC2046 # a list of words
	set -- $(ls -d /sys/devices/system/cpu/cpu*/online)
	[ $# -gt 1 ] || return
	shift
	pick "$@"
	below 2
	echo "$rnd" >"$word"
}

# One of the programs that run rests for a moment
stop_one() {
	# shellcheck disable=SC2046
	set -- $(pidof mts_oracle mts_fork mts_ptrace mts_smp mts_split mts_compact mts_swap)
	[ $# -gt 0 ] || return
	pick "$@"
	kill -STOP "$word"
	below 300
	usleep $((rnd * 1000))
	kill -CONT "$word"
}

# hold MIB: a program with tagged memory, to be killed; its pid is in $pid
hold() {
	(sleep 30 & echo $! >/tmp/sleep.pid; wait) | ./mts_tool hold "$1" >/dev/null 2>&1 &
	pid=$!
}

kill_one() {
	below 16
	hold $((rnd + 1))
	below 700
	usleep $((rnd * 1000))
	kill -9 "$pid"
	kill "$(cat /tmp/sleep.pid)"
	wait "$pid"
}

# A program with more tagged memory than its cgroup may have; it may be killed
limited() {
	below 24
	echo $((rnd + 2))M >$cgroups/limited/memory.max
	sh -c "echo \$\$ >$cgroups/limited/cgroup.procs; exec ./mts_tool hold 20" \
		</dev/null >/tmp/limited.out 2>&1
	ended_well limited $? 9
}

# One of the oracle's processes gets into a cgroup that is short of memory, and out again
squeezed() {
	# shellcheck disable=SC2046
	set -- $(pidof mts_oracle)
	[ $# -gt 0 ] || return
	pick "$@"
	below 32
	echo $((rnd + 1))M >$cgroups/squeezed/memory.high
	echo "$word" >$cgroups/squeezed/cgroup.procs
	below 500
	usleep $((rnd * 1000))
	echo 8M >$cgroups/squeezed/memory.reclaim
	echo max >$cgroups/squeezed/memory.high
	echo "$word" >$cgroups/cgroup.procs
}

turn_knob() {
	below 8
	case $rnd in
	0) name=data_use; set -- last-resort balanced first ;;
	1) name=reserve; set -- on-demand at-first-use ;;
	2) name=release; set -- lazy lazy never ;;
	3) name=release_delay_ms; set -- 0 10 500 3000 ;;
	4) name=pass_interval_ms; set -- 10 50 250 1000 ;;
	5) name=evacuate_percent; set -- 0 50 95 100 ;;
	6) name=fault_wait_ms; set -- 1 5 20 200 ;;
	7) name=mprotect_inplace_pages; set -- 0 1 2 32 ;;
	esac
	pick "$@"
	echo "$word" >"$MTS_DEBUGFS/policy/$name"
}

# Some of the module's operations fail for a moment
fail_some() {
	pick fail_reserve fail_migrate
	where=$MTS_DEBUGFS/$word
	echo 0 >"$where/verbose"
	echo -1 >"$where/times"
	below 60
	echo "$rnd" >"$where/probability"
	below 500
	usleep $((rnd * 1000))
	echo 0 >"$where/probability"
}

# All as it was before
restore() {
	for word in /sys/devices/system/cpu/cpu*/online; do
		[ "$(cat "$word")" = 1 ] || echo 1 >"$word"
	done
	until [ "$(mts_state)" = online ]; do
		mts_online
	done
	echo default >"$MTS_SYSFS/preset"
	echo 0 >/sys/kernel/mm/ksm/run
	# What was allocated from the CMA area, drivers apart
	while [ -w $cma/free ] && [ "$(cat $cma/used)" -gt "$cma_used" ]; do
		echo 1024 >$cma/free
	done
}

# disturb SEED: until /tmp/quiet appears. Rests at least as long as it works.
disturb() {
	state=$1
	while [ ! -e /tmp/quiet ]; do
		began=$(now)
		kinds=12
		[ ! -e /tmp/with_oracle ] || kinds=20
		below $kinds
		echo "$rnd" >>/tmp/disturber.log
		case $rnd in
		0 | 1) echo 1 >/proc/sys/vm/compact_memory ;;
		2) echo 3 >/proc/sys/vm/drop_caches ;;
		3) echo 1 >/sys/kernel/mm/ksm/run; sleep 1; echo 2 >/sys/kernel/mm/ksm/run ;;
		4) [ ! -w $cma/alloc ] || echo 64 >$cma/alloc ;;
		5) [ ! -w $cma/free ] || echo 64 >$cma/free ;;
		6) mts_release ;;
		7 | 8) switch_cpu ;;
		9 | 10) stop_one ;;
		11) [ ! -e /tmp/may_offline ] || { mts_offline && usleep 100000 && mts_online; } ;;
		12) kill_one ;;
		13 | 14) turn_knob ;;
		15) fail_some ;;
		16) limited ;;
		17) squeezed ;;
		18) ./mts_tool poison "$state"; ended_well poison $? ;;
		19) [ -e /tmp/may_offline ] || { ./mts_tool hog; ended_well hog $?; } ;;
		esac
		below 300
		usleep $((rnd * 1000 + ($(now) - began) * 10000))
	done >/dev/null 2>&1
	restore 2>/dev/null
}

# run_one PROGRAM: fails if that fails
run_one() {
	prog=${1%%=*}
	arg=
	[ "$prog" = "$1" ] || arg=${1#*=}
	echo "# $(cut -d' ' -f1 /proc/uptime) s: $1"
	# shellcheck disable=SC2086 # no argument is no word
	"./$prog" $arg >/tmp/program.out 2>&1
	status=$?
	if [ $status -eq 0 ] || [ $status -eq 4 ]; then
		# Beside the disturber memory is never at rest
		audit "$1" --busy
		return
	fi
	sed 's/^/# /' /tmp/program.out
	return 1
}

# How often each kind of disturbance has been
kinds_so_far() {
	awk 'BEGIN { split("compact compact drop ksm cma-alloc cma-free release cpu cpu stop stop " \
			"offline kill knob knob fail limited squeezed poison oom", name) }
		{ n[name[$1 + 1]]++ }
		END { for (kind in n) printf " %s=%d", kind, n[kind] }' /tmp/disturber.log
}

cgroups=/tmp/cg
mkdir -p $cgroups
mount -t cgroup2 none $cgroups 2>/dev/null
echo +memory >$cgroups/cgroup.subtree_control
mkdir -p $cgroups/limited $cgroups/squeezed
: >/tmp/disturber.bad
: >/tmp/disturber.log
end=$(($(cut -d. -f1 /proc/uptime) + seconds))
runs=0
ktap_plan 9
check "the module loads" mts_load
while [ -z "$trouble" ] && [ "$(cut -d. -f1 /proc/uptime)" -lt "$end" ]; do
	rm -f /tmp/quiet /tmp/may_offline /tmp/with_oracle
	below 2
	if [ "$rnd" = 0 ]; then
		# Offline there is less memory than the programs reckon with
		below 2
		[ "$rnd" = 0 ] || : >/tmp/may_offline
		: >/tmp/with_oracle
		below 100000
		disturb "$rnd" &
		disturber=$!
		: >/tmp/go
		below 100000
		./mts_oracle --until=/tmp/go --seconds=600 --mem-percent=$percent \
			--tagged-percent=3 --modes=-keeper --seed="$rnd" >/tmp/oracle.out 2>&1 &
		oracle=$!
		for _ in 1 2 3; do
			# shellcheck disable=SC2086 # a list of words
			pick $beside
			run_one "$word" || trouble="$trouble $word"
			runs=$((runs + 1))
		done
		rm -f /tmp/go
		wait $oracle || {
			trouble="$trouble oracle"
			sed 's/^/# /' /tmp/oracle.out
		}
	else
		below 100000
		disturb "$rnd" &
		disturber=$!
		# shellcheck disable=SC2086 # a list of words
		pick $alone
		run_one "$word" || trouble="$trouble $word"
		runs=$((runs + 1))
	fi
	: >/tmp/quiet
	wait $disturber
	audit "run $runs" || trouble="$trouble audit"
done
echo "# disturbed:$(kinds_so_far)"
if [ -z "$trouble" ]; then
	ktap_ok "$runs programs"
else
	ktap_fail "$runs programs" "seed $seed:$trouble"
fi
if [ ! -s /tmp/disturber.bad ]; then
	ktap_ok "what was done meanwhile"
else
	ktap_fail "what was done meanwhile" "seed $seed: $(tr '\n' ' ' </tmp/disturber.bad)"
fi
no_poison() {
	[ "$(meminfo HardwareCorrupted)" = 0 ]
}
check "no poison is left" no_poison
check "a release pass" mts_release
check "no page stays isolated" wait_for 20 nothing_isolated
sum=$(awk '/^blocks_/ && $1 != "blocks_total" { n += $2 } END { print n + 0 }' \
	"$MTS_DEBUGFS/stats")
check "the blocks add up" test "$sum" = "$(mts_stat blocks_total)"
sed 's/^/# /' "$MTS_DEBUGFS/stats"
check "offline" wait_for 60 mts_offline
check "the module unloads" mts_unload
ktap_done
