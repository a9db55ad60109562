#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The oracle (mts_oracle.c) with the module online, with a page cache on a block
# device if the machine has one.
#
# usage: oracle online|broken|absent [preset=NAME] [OPTION of mts_oracle ...]
#
#   online	the module as it is
#   broken	the module that was loaded is the broken one, which publishes
#		blocks without reserving them: the oracle has to fail
#   absent	no module: what an MTE kernel does alone

. ./lib.sh

module=$1
shift
has_preset "$@" && shift

# A file system whose page cache can be dropped and lies in movable memory.
if [ -b /dev/vda ]; then
	disk=/dev/vda
else
	dd if=/dev/zero of=/tmp/disk bs=1M seek=24 count=0 2>/dev/null
	disk=$(losetup -f)
	losetup "$disk" /tmp/disk
fi
mkdir -p /tmp/cache
dir=
if mke2fs "$disk" >/dev/null 2>&1 &&
   mount -t ext4 "$disk" /tmp/cache 2>/dev/null ||
   mount -t ext2 "$disk" /tmp/cache 2>/dev/null; then
	dir=/tmp/cache
fi

if [ "$module" != absent ] && ! mts_load ${preset:+"$preset"}; then
	echo "Bail out! the module does not load"
	exit 1
fi
./mts_oracle ${dir:+--dir=$dir} "$@"
status=$?
[ -z "$dir" ] || umount /tmp/cache

# The bookkeeping of a broken run means nothing.
if [ "$module" = online ]; then
	if ! audit oracle; then
		echo "Bail out! the audit of all memory found the above"
		exit 1
	fi
	if ! wait_for 20 mts_offline || ! mts_unload; then
		echo "Bail out! the module does not go offline"
		exit 1
	fi
fi
exit $status
