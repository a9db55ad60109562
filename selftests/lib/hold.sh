#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# To be sourced after lib.sh: mts_tool in the background, holding memory until it
# is told to verify it and go. N is a free file descriptor, 5 to 7.

# hold_start N ARG...: returns when the memory is there
hold_start() {
	_n=$1
	shift
	# What the last one has said would be taken for the answer of this one
	rm -f "/tmp/hold$_n" "/tmp/hold$_n.out"
	mkfifo "/tmp/hold$_n" || return 1
	# Opened for both directions, no side waits for the other.
	eval "exec $_n<>/tmp/hold$_n"
	# The other end must not live on in a child.
	./mts_tool "$@" <"/tmp/hold$_n" >"/tmp/hold$_n.out" 2>&1 5>&- 6>&- 7>&- &
	eval "hold_pid$_n=$!"
	wait_for 120 grep -qs '^ready' "/tmp/hold$_n.out"
}

# hold_finish N: fails if a byte or a tag is wrong.
hold_finish() {
	eval "exec $1>&-; wait \$hold_pid$1"
}

# hold_report N: what it has said so far, as diagnostic lines
hold_report() {
	sed 's/^# //; s/^/# /' "/tmp/hold$1.out"
}

# hold_field KEY N: a number of its report
hold_field() {
	sed -n "s/^ready.* $1=\([0-9]*\).*/\1/p" "/tmp/hold$2.out"
}
