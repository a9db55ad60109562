#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# To be sourced after lib.sh: the policy's knobs, injected failures, and how many
# blocks are reserved.

policy=$MTS_DEBUGFS/policy

# knob NAME VALUE
knob() {
	echo "$2" >"$policy/$1"
}

# inject NAME PERCENT: how many of the module's operations of this kind fail
inject() {
	echo 0 >"$MTS_DEBUGFS/$1/verbose" &&
		echo -1 >"$MTS_DEBUGFS/$1/times" &&
		echo "$2" >"$MTS_DEBUGFS/$1/probability"
}

# no_storage PERCENT: reserving fails, and to move what is in the way
no_storage() {
	inject fail_reserve "$1" && inject fail_migrate "$1"
}

reserved() {
	mts_stat blocks_reserved
}

at_most() {
	[ "$(reserved)" -le "$1" ]
}

# What data is in at the moment can stay
few_released() {
	[ "$(mts_stat blocks_released)" -le $(($(mts_stat blocks_total) / 20)) ]
}
