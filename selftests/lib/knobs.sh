#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# To be sourced after lib.sh: the policy's knobs, and how many blocks are reserved.

policy=$MTS_DEBUGFS/policy

# knob NAME VALUE
knob() {
	echo "$2" >"$policy/$1"
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
