#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# All tag storage goes from tags to data and back, on a machine where tags and
# data of tag storage are cached apart (tag-storage-cache=on): what the module
# forgets to clean destroys one of them.
#
# usage: incoherent [MIB of tagged memory]

. ./lib.sh
. ./hold

mib=${1:-150}

ktap_plan 7
check "the module loads" mts_load
if hold_start 5 hold "$mib" && hold_finish 5; then
	ktap_ok "$mib MiB of tags are intact"
else
	ktap_fail "$mib MiB of tags are intact"
fi
few_reserved() {
	[ "$(mts_stat blocks_reserved)" -lt 100 ]
}
check "their storage is given back" wait_for 60 few_reserved
if hold_start 5 fill; then
	ktap_ok "data fill tag storage"
else
	ktap_fail "data fill tag storage"
fi
hold_report 5
# What is still in a cache of tags gets to memory meanwhile.
sleep 8
if hold_finish 5; then
	ktap_ok "the data are intact"
else
	ktap_fail "the data are intact"
fi
if hold_start 5 hold "$mib" && sleep 3 && hold_finish 5; then
	ktap_ok "$mib MiB of tags are intact where data have been"
else
	ktap_fail "$mib MiB of tags are intact where data have been"
fi
hold_report 5
check_audit incoherent
ktap_done
