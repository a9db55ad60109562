#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Test programs with the module online: load it, run each program as a subtest
# and audit all memory after it, take all tag storage back, unload, and nothing is left.
#
# usage: online [absent|poisoned] [preset=NAME] PROGRAM[=ARG] ...
#
#   absent	without the module: the same programs on the kernel alone
#   poisoned	pages of tag storage are poisoned meanwhile: going offline must be
#		refused, memory could get tags that can't be stored

. ./lib.sh

module=mte_tag_storage
if [ "${1:-}" = absent ]; then
	module=
	shift
fi
poisoned=
if [ "${1:-}" = poisoned ]; then
	poisoned=1
	shift
fi
has_preset "$@" && shift
if [ -z "$module" ]; then
	ktap_plan $#
elif [ -n "$poisoned" ]; then
	ktap_plan $(($# + 6))
else
	ktap_plan $(($# + 7))
fi
if [ -n "$module" ]; then
	total=$(meminfo MemTotal)
	check "the module loads" mts_load ${preset:+"$preset"}
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
	[ -z "$module" ] || audit "$prog"
done
[ -n "$module" ] || ktap_done

if [ -z "$audit_failed" ]; then
	ktap_ok "every page of the machine is what it should be"
else
	ktap_fail "every page of the machine is what it should be" "not after:$audit_failed"
fi
sum=$(awk '/^blocks_/ && $1 != "blocks_total" { n += $2 } END { print n + 0 }' \
	"$MTS_DEBUGFS/stats")
if [ "$sum" = "$(mts_stat blocks_total)" ]; then
	ktap_ok "the blocks add up"
else
	ktap_fail "the blocks add up" "$sum of $(mts_stat blocks_total)"
fi
grep -vE '^mts-stats ' "$MTS_DEBUGFS/stats" | sed 's/^/# /'
check "no page stays isolated" wait_for 10 nothing_isolated
if [ -n "$poisoned" ]; then
	said=$(mts_offline 2>&1)
	case $?:$said in
	1:*"hardware error"*) ktap_ok "offline is refused" ;;
	*) ktap_fail "offline is refused" "$said" ;;
	esac
	if [ "$(mts_state)" = online ] && [ "$(meminfo MemTotal)" -gt "$total" ]; then
		ktap_ok "all is online, as before"
	else
		ktap_fail "all is online, as before" \
			"$(mts_state), MemTotal $total KiB, then $(meminfo MemTotal) KiB"
	fi
	ktap_done
fi
check "offline" wait_for 20 mts_offline
check "the module unloads" mts_unload
after=$(meminfo MemTotal)
if [ "$after" = "$total" ]; then
	ktap_ok "MemTotal is as before"
else
	ktap_fail "MemTotal is as before" "$total KiB before, $after KiB now"
fi
ktap_done
