#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Run the tests on a board, without the lab: one KTAP result for each entry of
# tests.list that needs no machine of its own, nor one as small as the lab's, and does
# not have programs killed, pages poisoned or the machine hibernated. As root, in the
# directory that "make install" has filled; the module must not be loaded.
#
#   run_board [--list] [NAME...]
#
# MTS_KO     the module; without it mte_tag_storage.ko here, or else what modprobe loads
# --list     show the entries instead; what a NAME asks for is run whatever it needs

cd "$(dirname "$0")" || exit 1
list=
if [ "${1:-}" = --list ]; then
	list=1
	shift
fi
names=$*

# "name seconds test args" of the entries that are wanted
entries() {
	awk -v names="$names" 'BEGIN { n = split(names, want, " ")
			for (i = 1; i <= n; i++) wanted[want[i]] = 1 }
		/^#/ || NF < 4 { next }
		{ fits = $1 !~ /^(poison|hibernate)$/ && $3 !~ /(^|,)(allow|mem=256M|mem=384M|tree|delay|says|guest|swap|append|with|flavour|module|kernel|machine|block-size|numa|expect|pages|kselftest|kexec|plain|icount)/ }
		n ? $1 in wanted : fits { printf "%s %s", $1, $2
			for (i = 4; i <= NF; i++) printf " %s", $i
			print "" }' tests.list
}

if [ -n "$list" ]; then
	entries
	exit
fi
entries >/tmp/run_board.$$ || exit 1
trap 'rm -f /tmp/run_board.$$' EXIT
trap 'exit 130' INT TERM
PATH=$PWD:$PATH
export PATH
if grep -q '^mte_tag_storage ' /proc/modules; then
	echo "run_board: the module is loaded: rmmod mte_tag_storage" >&2
	exit 2
fi
if [ -z "${MTS_KO:-}" ]; then
	MTS_KO=$PWD/mte_tag_storage.ko
	[ -f "$MTS_KO" ] || MTS_KO=$(modinfo -F filename mte_tag_storage 2>/dev/null || true)
fi
if [ ! -f "$MTS_KO" ]; then
	echo "run_board: no module: put mte_tag_storage.ko here, or set MTS_KO" >&2
	exit 2
fi
export MTS_KO
grep -q ' /sys/kernel/debug ' /proc/mounts ||
	mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
echo "KTAP version 1"
echo "1..$(wc -l </tmp/run_board.$$)"
n=0
failed=0
while read -r name seconds test args; do
	n=$((n + 1))
	echo "# Subtest: $name"
	# shellcheck disable=SC2086 # a list of words
	{ timeout "$seconds" "./$test" $args </dev/null; echo $? >/tmp/run_board.$$.rc; } |
		sed 's/^/    /'
	rc=$(cat /tmp/run_board.$$.rc)
	rm -f /tmp/run_board.$$.rc
	case $rc in
	0) echo "ok $n $name" ;;
	4) echo "ok $n $name # SKIP all of it" ;;
	*)
		echo "# exit status $rc"
		echo "not ok $n $name"
		failed=1
		;;
	esac
done </tmp/run_board.$$
exit $failed
