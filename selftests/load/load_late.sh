#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# insmod while processes already use tagged memory: their blocks stay theirs, also
# when all the released tag storage is filled with data afterwards.

. ./lib.sh
. ./hold

# started DESC N ARG...
started() {
	_desc=$1
	shift
	if hold_start "$@"; then
		hold_report "$1"
		ktap_ok "$_desc"
	else
		ktap_fail "$_desc" "$(hold_report "$1")"
	fi
}

# finished DESC N
finished() {
	if hold_finish "$2"; then
		ktap_ok "$1"
	else
		hold_report "$2"
		ktap_fail "$1" "see above"
	fi
}

ktap_plan 12
started "16 MiB are tagged before the module" 5 hold 16
started "3 MiB, too" 6 hold 3
./mts_oracle --seconds=12 --mem-percent=30 --tagged-percent=4 \
	>/tmp/oracle.out 2>&1 5>&- 6>&- &
oracle=$!
usleep 1500000
check "the module loads" mts_load
need=$(($(hold_field blocks 5) > $(hold_field blocks 6) ?
	$(hold_field blocks 5) : $(hold_field blocks 6)))
have=$(($(mts_stat blocks_reserved) + $(mts_stat blocks_static)))
echo "# reserved or static: $have blocks, released: $(mts_stat blocks_released)"
if [ "$have" -ge "$need" ] && [ "$need" -gt 0 ]; then
	ktap_ok "their blocks are reserved"
else
	ktap_fail "their blocks are reserved" "$have, while one process alone has $need"
fi
usleep 2000000
check "a release pass" mts_release
wait $oracle
status=$?
sed 's/^/    /' /tmp/oracle.out
if [ $status -eq 0 ]; then
	ktap_ok "the oracle, from before to after"
else
	ktap_fail "the oracle, from before to after" "exit status $status"
fi
started "data fills tag storage" 7 fill
finished "what was tagged before is intact: 16 MiB" 5
finished "what was tagged before is intact: 3 MiB" 6
finished "data in tag storage is intact" 7
check_audit load_late
check "offline and rmmod" unload
ktap_done
