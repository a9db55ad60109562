#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# On a machine with delay=__arm64_sys_sethostname=1500: the CPU that gets there
# rests for that long, while the others go on, also where they have to wait
# for all CPUs to do something (here: for invalidations of the TLB).

. ./lib.sh

# Hundredths of a second since the machine started
now() {
	awk '{ printf "%d\n", $1 * 100 }' /proc/uptime
}

# Each new process needs many invalidations. On the other CPU: a child that the
# scheduler put on the one that rests would wait with it.
count_processes() {
	# shellcheck disable=SC2016 # the other shell's
	taskset 1 sh -c 'n=0
		while [ ! -e /tmp/stop ]; do
			/bin/true
			n=$((n + 1))
		done
		echo $n >/tmp/processes'
}

ktap_plan 3
rm -f /tmp/stop
start=$(now)
hostname >/dev/null
quick=$(($(now) - start))
count_processes &
start=$(now)
taskset 2 hostname delayed
took=$(($(now) - start))
touch /tmp/stop
wait
echo "# without a delay $quick, with it $took hundredths of a second"
if [ "$took" -ge 140 ] && [ "$took" -gt $((quick + 100)) ]; then
	ktap_ok "the CPU rests at the symbol"
else
	ktap_fail "the CPU rests at the symbol" "it took $took"
fi
check "what it was about to do is done afterwards" [ "$(hostname)" = delayed ]
processes=$(cat /tmp/processes)
echo "# $processes processes meanwhile"
# Of what it could do if starting one took four times as long as before
enough=$((took / (4 * (quick + 1))))
[ "$enough" -ge 3 ] || enough=3
check "the other CPU goes on" [ "$processes" -ge "$enough" ]
ktap_done
