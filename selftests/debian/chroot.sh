#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# In the lab's own guest: Debian's programs without Debian's kernel and systemd. Mounts
# Debian's disk and runs a test of this folder there.
#
# usage: chroot [absent] TEST [ARG...]
#
#   absent	without the module

. ./lib.sh

if [ "$1" = absent ]; then
	shift
else
	mts_load >&2 || exit 1
fi
mkdir -p /mnt
for disk in /dev/vd?; do
	if mount -t ext4 "$disk" /mnt 2>/dev/null; then
		root=$disk
	else
		SWAP=$disk
	fi
done
if [ -z "${root:-}" ]; then
	echo "no disk of Debian's" >&2
	exit 1
fi
export SWAP
mkdir -p /mnt/lab/tests
for where in proc sys dev; do
	mount --bind /$where /mnt/$where
done
mount --bind /tests /mnt/lab/tests
mount -t debugfs debugfs /mnt/sys/kernel/debug
mount -t tmpfs tmpfs /mnt/run
mount -t tmpfs tmpfs /mnt/tmp
export LC_ALL=C.UTF-8 PATH=/lab/tests:/usr/sbin:/usr/bin:/sbin:/bin
# shellcheck disable=SC2016 # the other shell expands it
exec chroot /mnt /bin/sh -c 'cd /lab/tests && exec "./$@"' sh "$@"
