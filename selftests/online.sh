#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Test programs with the module online: load it, run each program as a subtest,
# take all tag storage back, unload, and nothing is left.
#
# usage: online [absent] PROGRAM[=ARG] ...
#
#   absent	without the module: the same programs on the kernel alone

. ./lib.sh

module=mte_tag_storage
if [ "${1:-}" = absent ]; then
	module=
	shift
fi
if [ -z "$module" ]; then
	ktap_plan $#
else
	ktap_plan $(($# + 5))
	total=$(meminfo MemTotal)
	check "the module loads" mts_load
fi
for word; do
	prog=${word%%=*}
	arg=
	[ "$prog" = "$word" ] || arg=${word#*=}
	echo "# Subtest: $prog"
	# shellcheck disable=SC2086 # no argument is no word
	{ "./$prog" $arg; echo $? >/tmp/status; } | sed 's/^/    /'
	case $(cat /tmp/status) in
	0) ktap_ok "$prog" ;;
	4) ktap_skip "$prog" "all of it" ;;
	*) ktap_fail "$prog" "exit status $(cat /tmp/status)" ;;
	esac
done
[ -n "$module" ] || ktap_done

sum=$(awk '/^blocks_/ && $1 != "blocks_total" { n += $2 } END { print n + 0 }' \
	"$MTS_DEBUGFS/stats")
if [ "$sum" = "$(mts_stat blocks_total)" ]; then
	ktap_ok "the blocks add up"
else
	ktap_fail "the blocks add up" "$sum of $(mts_stat blocks_total)"
fi
grep -vE '^mts-stats ' $MTS_DEBUGFS/stats | sed 's/^/# /'
check "offline" wait_for 20 mts_offline
check "the module unloads" mts_unload
after=$(meminfo MemTotal)
if [ "$after" = "$total" ]; then
	ktap_ok "MemTotal is as before"
else
	ktap_fail "MemTotal is as before" "$total KiB before, $after KiB now"
fi
ktap_done
