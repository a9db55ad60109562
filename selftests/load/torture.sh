#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A random mixture from a seed: programs of the selftests one after the other, half
# of the time beside the oracle, while something disturbs them all the time:
# compaction, dropped caches, KSM, allocation from an ordinary CMA area, release
# passes, going offline and online. The seed chooses what is run and in which
# order; what then happens at the same time it can't choose.
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
[ ! -e /sys/kernel/debug/kmemleak ] || percent=8

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

# disturb SEED: until /tmp/quiet appears. Rests at least as long as it works.
disturb() {
	state=$1
	while [ ! -e /tmp/quiet ]; do
		began=$(now)
		below 8
		case $rnd in
		0 | 1) echo 1 >/proc/sys/vm/compact_memory ;;
		2) echo 3 >/proc/sys/vm/drop_caches ;;
		3) echo 1 >/sys/kernel/mm/ksm/run; sleep 1; echo 2 >/sys/kernel/mm/ksm/run ;;
		4) [ ! -w $cma/alloc ] || echo 64 >$cma/alloc ;;
		5) [ ! -w $cma/free ] || echo 64 >$cma/free ;;
		6) mts_release ;;
		7) [ ! -e /tmp/may_offline ] || { mts_offline && usleep 100000 && mts_online; } ;;
		esac
		below 300
		usleep $((rnd * 1000 + ($(now) - began) * 10000))
	done 2>/dev/null
	until [ "$(mts_state)" = online ]; do
		mts_online
	done
	echo 0 >/sys/kernel/mm/ksm/run
	# What was allocated from the CMA area, drivers apart
	while [ -w $cma/free ] && [ "$(cat $cma/used)" -gt "$cma_used" ]; do
		echo 1024 >$cma/free
	done
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

end=$(($(cut -d. -f1 /proc/uptime) + seconds))
runs=0
ktap_plan 7
check "the module loads" mts_load
while [ -z "$trouble" ] && [ "$(cut -d. -f1 /proc/uptime)" -lt "$end" ]; do
	rm -f /tmp/quiet /tmp/may_offline
	below 2
	if [ "$rnd" = 0 ]; then
		# Offline there is less memory than the programs reckon with
		below 2
		[ "$rnd" = 0 ] || : >/tmp/may_offline
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
if [ -z "$trouble" ]; then
	ktap_ok "$runs programs"
else
	ktap_fail "$runs programs" "seed $seed:$trouble"
fi
check "a release pass" mts_release
check "no page stays isolated" wait_for 20 nothing_isolated
sum=$(awk '/^blocks_/ && $1 != "blocks_total" { n += $2 } END { print n + 0 }' \
	"$MTS_DEBUGFS/stats")
check "the blocks add up" test "$sum" = "$(mts_stat blocks_total)"
sed 's/^/# /' "$MTS_DEBUGFS/stats"
check "offline" wait_for 60 mts_offline
check "the module unloads" mts_unload
ktap_done
