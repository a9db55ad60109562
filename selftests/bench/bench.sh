#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The guest's part of "make bench": set up a configuration, measure rows.
#
#   bench CONFIG SCALE ROW...
#
# CONFIG is vanilla, patched or online (which loads the module). SCALE is quick
# or full. The order of the rows is the caller's.

. ./lib.sh

config=$1
scale=$2
shift 2

if [ "$scale" = quick ]; then
	mib=32 passes=3 touches=4 jobs=10 window=1500 rounds=2
else
	mib=64 passes=6 touches=16 jobs=40 window=5000 rounds=4
fi

# What the row before has left behind is not released while this one is measured
run() {
	[ "$(mts_state 2>/dev/null)" != online ] || mts_release
	./mts_bench "$@" || echo "! $1 the program ended with status $?"
}

# A file system whose pages of zeros need no memory
make_fs() {
	[ ! -d /mnt/disk ] || return 0
	mkdir -p /mnt/disk
	echo 1G >/sys/block/zram0/disksize
	mke2fs -q /dev/zram0 >/dev/null && mount -t ext4 /dev/zram0 /mnt/disk
}

# Swap on compressed memory, more than will be needed
make_swap() {
	_n=$(cat /sys/class/zram-control/hot_add) || return 1
	echo "$(meminfo MemTotal)K" >"/sys/block/zram$_n/disksize"
	mkswap "/dev/zram$_n" >/dev/null && swapon "/dev/zram$_n"
}

# kinds ROW PROT
kinds() {
	grep -q zram /proc/swaps || make_swap || return 1
	for _kind in shared swap huge collapse protect; do
		run "$1$_kind" kind "$_kind" "$2" 16 $passes
	done
}

# churn ROW: B7f-SITUATION-TAGGED. What is not used by programs, and not
# kept free by the kernel, is page cache, except where there is room.
churn() {
	_f=${1##*-}
	case $1 in
	B7f-roomy-*) run "$1" churn "$_f" 20 $rounds - ;;
	B7f-anon-*) run "$1" churn "$_f" $((80 - _f)) $rounds - ;;
	B7f-cache-*) make_fs && run "$1" churn "$_f" $((70 - _f)) $rounds /mnt/disk/file ;;
	B7f-swap-*) make_swap && run "$1" churn "$_f" $((120 - _f)) $rounds - ;;
	esac
}

# policy KNOB:WORD, or "default"
policy() {
	if [ "$config" = online ] && [ "$1" != default ]; then
		echo "${1#*:}" >"$MTS_DEBUGFS/policy/${1%%:*}" || return 1
	fi
}

# limits POLICY: what of some kinds of memory there is in 256 MiB. THP as it is set.
limits() {
	policy "$1" || return 1
	echo always >/sys/kernel/mm/transparent_hugepage/enabled
	run B12-small limit small 0 0
	run B12-huge limit huge 0 0
	run B12-unmovable limit unmovable 48 96
	make_swap || return 1
	run B12-unmovable-swap limit unmovable 48 128
}

# policies POLICY: three kinds of load. The names of the rows are the same for all.
policies() {
	policy "$1" || return 1
	make_fs || return 1
	run B12-tagged churn 50 20 $rounds -
	run B12-cache churn 5 40 $rounds /mnt/disk/file
	run B12-mixed churn 20 40 $rounds /mnt/disk/file
}

# Rows that load the module themselves come first
case $config:$* in
online:*B10*) ;;
online:*) mts_load || exit 1 ;;
esac

for row in "$@"; do
	case $row in
	B1)
		run B1touch touch plain $mib $touches
		run B1fork fork plain 16 $passes
		run B1fork2m fork plain 16 $passes 2m
		make_fs && run B1cache cache /mnt/disk/file 32 3
		run B1mix mix $jobs
		;;
	B1k) kinds B1 plain ;;
	B3)
		run B3 touch mte $mib $touches
		run B3fork fork mte 16 $passes
		run B3fork2m fork mte 16 $passes 2m
		;;
	B3k) kinds B3 mte ;;
	B3h)
		run B3h2m touch mte $mib $passes 2m
		run B3h64k touch mte $mib $passes 64k
		;;
	B4con) run B4contiguous full mte 32 $passes contiguous ;;
	B4sca) run B4scattered full mte 32 $passes scattered ;;
	B4c) make_fs && run B4c cached mte 32 $passes /mnt/disk/file ;;
	B5) run B5 mprotect $mib $passes ;;
	B5s) run B5s storage 1024 ;;
	B6) run B6 gain ;;
	B7n*) run "B7${row#B7}" pack 8 8192 "${row#B7n}" ;;
	B7f-*) churn "$row" ;;
	B7r-*) run B7r repack 8 8192 3 "${row#B7r-}" 2 ;;
	B7q-*) run B7q repack 8 8192 3 "${row#B7q-}" 2 quiet ;;
	B8) run B8idle exit idle 64 ;;
	B8p) make_fs && run B8pressure exit pressure 64 /mnt/disk/file ;;
	B9) run B9 full mte 16 1 contiguous 4 ;;
	B10)
		if [ "$config" = online ]; then
			run B10 module "$MTS_KO" 64
		else
			echo "! B10 there is no module to load"
		fi
		;;
	B12-*) policies "${row#B12-}" ;;
	B12l-*) limits "${row#B12l-}" ;;
	B13) make_swap && run B13 fits 2 ;;
	B11) run B11 many mte 16 $window "$(nproc)" ;;
	*) echo "! $row unknown" ;;
	esac
done
