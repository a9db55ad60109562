# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Helpers of the guest's shell tests. Standard output is KTAP and nothing else;
# remarks go to standard error, which is the console.
#
#	. ./lib.sh
#	ktap_plan 2
#	check "module loads" mts_load
#	if [ "$(mts_stat blocks_bad)" = 0 ]; then
#		ktap_ok "no bad blocks"
#	else
#		ktap_fail "no bad blocks" "blocks_bad=$(mts_stat blocks_bad)"
#	fi
#	ktap_done

MTS_KO=${MTS_KO:-/lib/modules/mte_tag_storage.ko}
MTS_DEBUGFS=/sys/kernel/debug/mte_tag_storage
MTS_SYSFS=/sys/kernel/mm/mte_tag_storage
# Where no device tree describes the tag storage, the lab does on the command line
MTS_RANGES=$(sed -n 's/.*\<mts\.ranges=\([^ ]*\).*/\1/p' /proc/cmdline)

# BusyBox has it, coreutils doesn't
command -v usleep >/dev/null || usleep() {
	sleep "$(awk -v us="$1" 'BEGIN { print us / 1e6 }')"
}

ktap_total=0
ktap_failed=0
ktap_skipped=0
ktap_planned=

# ktap_plan N: the first output; N results must follow.
ktap_plan() {
	ktap_planned=$1
	echo "KTAP version 1"
	echo "1..$1"
}

# ktap_skip_all REASON: there is nothing to test here; ends
ktap_skip_all() {
	echo "KTAP version 1"
	echo "1..0 # SKIP $1"
	exit 4
}

ktap_ok() {
	ktap_total=$((ktap_total + 1))
	echo "ok $ktap_total $1"
}

# ktap_fail DESC [REASON]
ktap_fail() {
	ktap_total=$((ktap_total + 1))
	ktap_failed=$((ktap_failed + 1))
	[ -z "${2:-}" ] || echo "# $2"
	echo "not ok $ktap_total $1"
}

# equal DESC EXPECTED ACTUAL
equal() {
	if [ "$2" = "$3" ]; then
		ktap_ok "$1"
	else
		ktap_fail "$1" "expected $2, found $3"
	fi
}

# ktap_skip DESC REASON
ktap_skip() {
	ktap_total=$((ktap_total + 1))
	ktap_skipped=$((ktap_skipped + 1))
	echo "ok $ktap_total $1 # SKIP ${2:-no reason given}"
}

# check DESC CMD...: one result, ok when CMD succeeds. What CMD prints becomes
# diagnostic lines.
check() {
	_desc=$1
	shift
	_rc=0
	_out=$("$@" 2>&1) || _rc=$?
	[ -z "$_out" ] || echo "$_out" | sed 's/^/# /'
	if [ "$_rc" -eq 0 ]; then
		ktap_ok "$_desc"
	else
		ktap_fail "$_desc" "'$*' returned $_rc"
	fi
}

# check_here DESC CMD...: the same for a CMD that must not run in a subshell
check_here() {
	_here=$1
	shift
	if "$@"; then
		ktap_ok "$_here"
	else
		ktap_fail "$_here" "'$*' failed"
	fi
}

# ktap_done: exit with kselftest's status: 0 passed, 1 failed, 4 all skipped.
# A plan that wasn't met is the host's to report, and fails here too.
ktap_done() {
	echo "# totals: pass:$((ktap_total - ktap_failed - ktap_skipped))" \
		"fail:$ktap_failed skip:$ktap_skipped"
	[ "$ktap_failed" -eq 0 ] || exit 1
	[ "$ktap_total" = "$ktap_planned" ] || exit 1
	if [ "$ktap_total" -gt 0 ] && [ "$ktap_skipped" -eq "$ktap_total" ]; then
		exit 4
	fi
	exit 0
}

# scaled SECONDS: a time limit as this machine needs it (see init).
scaled() {
	echo $(($1 * ${MTS_SCALE:-10} / 10))
}

# wait_for SECONDS CMD...: until CMD succeeds; fails after SECONDS (scaled).
wait_for() {
	_end=$(($(cut -d. -f1 /proc/uptime) + $(scaled "$1")))
	shift
	until "$@"; do
		[ "$(cut -d. -f1 /proc/uptime)" -lt "$_end" ] || return 1
		usleep 100000
	done
}

# meminfo KEY: in KiB, as /proc/meminfo has it.
meminfo() {
	awk -v key="$1:" '$1 == key { print $2; found = 1 } END { exit !found }' /proc/meminfo
}

# vmstat KEY
vmstat() {
	awk -v key="$1" '$1 == key { print $2; found = 1 } END { exit !found }' /proc/vmstat
}

# mts_load [PARAM=VALUE...]
mts_load() {
	insmod "$MTS_KO" ${MTS_RANGES:+"ranges=$MTS_RANGES"} "$@" || return 1
	kcsan_watch
	mts_settle
}

# has_preset [WORD...]: is the first word preset=NAME, a parameter for mts_load? Then it is
# in $preset: has_preset "$@" && shift
preset=
has_preset() {
	case ${1:-} in
	preset=*) preset=$1 ;;
	*) return 1 ;;
	esac
}

# After going online the worker releases tag storage, batch by batch
mts_settle() {
	while [ "$(cat $MTS_SYSFS/drain_state)" = releasing ]; do
		sleep 0.1
	done
}

# kcsan_watch: on a kernel that has KCSAN, tell from now on of races between the
# functions of the module and those of the hooks; both sides must be among them.
# Once only: the list of functions can't be made shorter.
kcsan_watch() {
	grep -qs '^enabled: 0' /sys/kernel/debug/kcsan || return 0
	echo whitelist >/sys/kernel/debug/kcsan
	awk '$2 ~ /[tT]/ && $3 !~ /^[$]/ &&
		($4 == "[mte_tag_storage]" || $3 ~ /tag_storage|mte_|fault_on_access/) \
		{ print "!" $3 }' /proc/kallsyms |
		while read -r _func; do
			echo "$_func" >/sys/kernel/debug/kcsan
		done
	echo on >/sys/kernel/debug/kcsan
}

mts_unload() {
	rmmod mte_tag_storage
}

mts_loaded() {
	grep -q '^mte_tag_storage ' /proc/modules
}

# mts_state: online or offline
mts_state() {
	sed -n 's/.*\[\([a-z]*\)\].*/\1/p' $MTS_DEBUGFS/state
}

mts_online() {
	echo online >$MTS_DEBUGFS/state && mts_settle
}

mts_offline() {
	echo offline >$MTS_DEBUGFS/state
}

# unload: offline, and rmmod
unload() {
	wait_for 20 mts_offline && mts_unload
}

# trigger NAME VALUE: have the module do something (docs/abi.md)
trigger() {
	echo "$2" >"$MTS_DEBUGFS/trigger/$1"
} 2>/dev/null

# mts_release: one synchronous release pass
mts_release() {
	echo 1 >$MTS_DEBUGFS/trigger/release
}

# mts_stat KEY: one value of the module's statistics
mts_stat() {
	awk -v key="$1" '$1 == key { print $2; found = 1 } END { exit !found }' $MTS_DEBUGFS/stats
}

# negative_counters: of the kernel. It tells of them in its log only, and shows
# 0 in /proc/vmstat; the host sees these lines, too.
negative_counters() {
	dmesg | sed -n 's/.*vmstat_refresh: //p'
}

# nothing_isolated: no page is counted as isolated once all is quiet, and no
# counter of the kernel is negative.
nothing_isolated() {
	cat /proc/sys/vm/stat_refresh || return 1
	[ -z "$(negative_counters)" ] || {
		echo "negative: $(negative_counters | tail -n 3)"
		return 1
	}
	[ "$(vmstat nr_isolated_anon)" = 0 ] && [ "$(vmstat nr_isolated_file)" = 0 ]
}

# ended STATUS...: statuses of programs that ran for what they cause; fails when
# one of them failed
ended() {
	for _status; do
		[ "$_status" -eq 0 ] || {
			echo "exit statuses: $*"
			return 1
		}
	done
}

# audit AFTER [--busy]: the global audit (mts_audit.c). It is quiet when all
# agree; audit_failed collects after what it didn't.
audit_failed=
audit() {
	_after=$1
	shift
	_rc=0
	./mts_audit --after="$_after" "$@" >/tmp/audit.out 2>&1 || _rc=$?
	[ "$_rc" -ne 0 ] || return 0
	grep -E '^(# AUDIT|not ok|Bail out)' /tmp/audit.out | sed 's/^# //; s/^/# /'
	audit_failed="$audit_failed $_after"
	return 1
}

# check_audit AFTER: one result
check_audit() {
	check "every page of the machine is what it should be" audit "$1"
}

# dmesg_count PATTERN: kernel messages that match so far
dmesg_count() {
	dmesg | grep -c "$1"
}
