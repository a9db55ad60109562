#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Under lockdown a module has to be signed, and files of debugfs that can be written
# can't even be read. All that a machine in use needs works. Only a reboot ends it.

. ./lib.sh

securityfs=/sys/kernel/security
tracing=/sys/kernel/tracing

lock() {
	mount -t securityfs securityfs "$securityfs" &&
		echo confidentiality >"$securityfs/lockdown" &&
		grep -F '[confidentiality]' "$securityfs/lockdown"
}

# denied CMD...: EPERM
denied() {
	_said=$("$@" 2>&1)
	case $?:$_said in
	0:*) echo "$*: works" ;;
	*"not permitted"*) return 0 ;;
	*) echo "$_said" ;;
	esac
	return 1
}

opens_to_read() {
	: <"$1"
}

opens_to_write() {
	: >"$1"
}

# A signature that has lost its end is none
without_signature() {
	dd if="$MTS_KO" of=/tmp/unsigned.ko bs=$(($(stat -c %s "$MTS_KO") - 1)) count=1 2>/dev/null
	denied insmod /tmp/unsigned.ko
}

# files [!] -perm ...: of debugfs
files() {
	find "$MTS_DEBUGFS" -type f "$@"
}

for_writing() {
	for _file in $(files -perm /222); do
		denied opens_to_read "$_file" && denied opens_to_write "$_file" || return 1
	done
	[ "$(files -perm /222 | wc -l)" -ge 10 ]
}

for_reading() {
	for _file in $(files ! -perm /222); do
		cat "$_file" >/dev/null && denied opens_to_write "$_file" || return 1
	done
	[ "$(files ! -perm /222 | wc -l)" -ge 10 ]
}

holders() {
	grep '^mte_tag_storage - version' /proc/mte_tag_storage
}

shown() {
	mts-textfile | grep '^mte_tag_storage_online 1'
}

# Tracing is a matter of confidentiality
traces() {
	denied opens_to_read "$tracing/trace" &&
		denied opens_to_write "$tracing/events/mte_tag_storage/enable"
}

put_state() {
	echo "$1" >"$MTS_SYSFS/state" && grep -F "[$1]" "$MTS_SYSFS/state"
}

ktap_plan 11
check "lockdown to confidentiality" lock
check "a module without a signature is refused" without_signature
check "one with a signature loads" mts_load
check "files of debugfs that can be written can't be opened" for_writing
check "the others can be read" for_reading
check "who holds tag storage can be read" holders
check "mts-textfile works" shown
check "tracepoints can't be used" traces
check "offline, by sysfs" wait_for 20 put_state offline
check "the module unloads" mts_unload
# Numbers, knobs, offline and on, pinned pages
echo "# Subtest: sysfs"
{ ./sysfs; echo $? >/tmp/status; } | sed 's/^/    /'
if [ "$(cat /tmp/status)" = 0 ]; then
	ktap_ok "sysfs"
else
	ktap_fail "sysfs" "exit status $(cat /tmp/status)"
fi
ktap_done
