# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# To be sourced after lib.sh, in the Debian guest: programs on tagged heap, swap,
# a machine that is full.

# glibc: memory of malloc() is PROT_MTE, each piece has a tag of its own, and a wrong
# tag is a signal at once
TAGGED=GLIBC_TUNABLES=glibc.mem.tagging=3
# Redis brings an allocator of its own; glibc's has to come first for it
LIBC=/lib/aarch64-linux-gnu/libc.so.6
SOCKET=/run/lab-redis.sock

# For what this shell starts from now on
tag_heap() {
	export GLIBC_TUNABLES="${TAGGED#*=}"
}

# stress SECONDS ARG...: stress-ng, which verifies what it has written
stress() {
	_seconds=$1
	shift
	stress-ng --temp-path /tmp --verify --quiet --timeout "${_seconds}s" "$@" >&2
}

sysfs() {
	cat "$MTS_SYSFS/$1"
}

# The last disk is for swap
SWAP=${SWAP:-/dev/vdc}
swap_on() {
	mkswap "$SWAP" >/dev/null 2>&1 && swapon "$SWAP"
}

# Is this Debian's kernel with systemd, or only its programs (chroot.sh)?
booted() {
	[ -d /run/systemd/system ]
}

# heap_is_tagged: malloc() gives memory with tags
heap_is_tagged() {
	env "$TAGGED" python3 -c '
import sys
sys.exit(not any("mt" in line.split() for line in open("/proc/self/smaps")
                 if line.startswith("VmFlags:")))'
}

# tagged_kib: memory that has tags, of all processes
tagged_kib() {
	cat /proc/[0-9]*/smaps 2>/dev/null | awk '
		$1 == "Rss:" { rss = $2 }
		$1 == "VmFlags:" { for (i = 2; i <= NF; i++) if ($i == "mt") sum += rss }
		END { print sum + 0 }'
}

redis_start() {
	env "$TAGGED" LD_PRELOAD=$LIBC redis-server --port 0 --unixsocket $SOCKET --save '' \
		--enable-debug-command yes --dir /tmp --loglevel warning >&2 &
	redis_pid=$!
	wait_for 20 redis_up
}

redis_up() {
	[ "$(redis ping 2>/dev/null)" = PONG ]
}

redis() {
	redis-cli -s $SOCKET "$@"
}

# sqlite_round ROWS: a data base in memory; prints what has to be the same each time
sqlite_round() {
	env "$TAGGED" sqlite3 :memory: "
		CREATE TABLE t(k INTEGER PRIMARY KEY, v TEXT, w BLOB);
		WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < $1)
			INSERT INTO t SELECT x, printf('%08x-%d', x * 2654435761 % 4294967296, x),
				zeroblob(200) FROM c;
		CREATE INDEX i ON t(v);
		DELETE FROM t WHERE k % 3 = 0;
		UPDATE t SET v = v || 'u' WHERE k % 5 = 0;
		VACUUM;
		PRAGMA integrity_check;
		SELECT count(*), sum(length(v)), sum(length(w)), min(v), max(v) FROM t;"
}
