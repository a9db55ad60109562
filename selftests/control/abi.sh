#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The files are what docs/abi.md says: names, modes, formats, ranges, defaults; and
# there are no others. Reads and writes every one of them.

. ./lib.sh

doc=abi.md
if [ ! -e $doc ]; then
	ktap_plan 1
	ktap_skip "the files are what the documentation says" "no abi.md"
	ktap_done
fi
params=/sys/module/mte_tag_storage/parameters

# The table, as "path|mode|format|range|default". N stands for each region.
table() {
	awk -F' *[|] *' '$2 ~ /^`/ && $3 ~ /^0[0-7]+$/ {
		gsub(/`/, "", $2); sub(/^debugfs/, dir, $2); sub(/^sysfs/, sys, $2)
		n = $2 ~ /\/N\// ? regions : 1
		for (i = 0; i < n; i++) {
			path = $2
			sub(/\/N\//, "/" i "/", path)
			print path "|" $3 "|" $4 "|" $5 "|" $6
		}
	}' dir="$MTS_DEBUGFS" sys="$MTS_SYSFS" regions="$1" $doc
}

# What the format promises: a regular expression that each line matches
lines_of() {
	case $1 in
	number) echo '^[0-9]+$' ;;
	stats) echo '^(mts-stats 1|[a-z_]+ (0x)?[0-9a-z-]+)$' ;;
	calls) echo '^(mts-calls 1|[a-z_0-9]+ [0-9]+)$' ;;
	latency) echo '^(mts-latency 1|[a-z_]+ [0-9]+ [0-9]+)$' ;;
	table) echo '^(# region .*|[0-9]+ 0x[0-9a-f]+-0x[0-9a-f]+ 0x[0-9a-f]+-0x[0-9a-f]+ [0-9]+ [0-9]+ [^ ]+( [0-9]+)+)$' ;;
	range) echo '^0x[0-9a-f]+-0x[0-9a-f]+$' ;;
	runs) echo '^([0-9]+ )?[0-9]+ [0-9]+ [a-z]+$' ;;
	map) echo '^(# [0-9]+ blocks, [0-9]+ per character: .*|[*]| *[0-9]+ [.#~^=+!0-9]+)$' ;;
	word) echo '^[^ ]+$' ;;
	allocinfo) echo '^(mte_tag_storage - version: 1[.]0|# .*|  *[0-9]+ +[0-9]+ [^ ]+:[0-9]+ func:[a-z_0-9]+)$' ;;
	choice) echo '^[a-z-]+( [a-z-]+)*$' ;;
	*) return 1 ;;
	esac
}

# put VALUE FILE
put() {
	printf '%s' "$1" >"$2"
} 2>/dev/null

same() {
	[ "$1" = "$2" ] || {
		echo "$file: '$2' instead of '$1'"
		return 1
	}
}

# takes VALUE, refuses VALUE: of $file
takes() {
	put "$1" "$file" || {
		echo "$file refuses '$1'"
		return 1
	}
}

refuses() {
	! put "$1" "$file" || {
		echo "$file takes '$1'"
		return 1
	}
}

mode_ok() {
	same "$mode" "0$(stat -c %a "$file")" || return 1
	[ -f "$file" ]
}

# The first line of a map has each state, with a character of its own
legend_ok() {
	_chars=
	# shellcheck disable=SC2013 # a word a line
	for _state in $(sed -n 's/^blocks_\([a-z]*\) .*/\1/p' "$MTS_DEBUGFS/stats"); do
		[ "$_state" != total ] || continue
		_char=$(sed -n "1s/.* \([^a-z ]\) $_state.*/\1/p" "$file")
		case $_chars in
		*"$_char"*) echo "$file: no character for $_state"; return 1 ;;
		esac
		_chars=$_chars$_char
	done
}

format_ok() {
	_re=$(lines_of "$format") || {
		echo "abi.md: unknown format $format"
		return 1
	}
	_text=$(tr -d '[]' <"$file")
	[ -n "$_text" ] || [ "$format" = latency ] || {
		echo "$file is empty"
		return 1
	}
	# The brackets of a map and of patterns stay out of this
	if printf '%s\n' "$_text" | grep -vE "$_re"; then
		echo "$file: not $format"
		return 1
	fi
	[ "$format" != map ] || legend_ok
}

default_ok() {
	if [ "$format" = choice ]; then
		same "$default" "$(sed 's/.*\[\(.*\)\].*/\1/' "$file")"
	else
		same "$default" "$(cat "$file")"
	fi
}

# Choices can be written and read back; the last one is the default again
words_ok() {
	same "$range" "$(tr -d '[]' <"$file")" || return 1
	for _word in $range $default; do
		# What the file shows when it is none of the others
		if [ "$_word" = changed ]; then
			refuses "$_word" || return 1
			continue
		fi
		takes "$_word" || return 1
		case " $(cat "$file") " in
		*" [$_word] "*) ;;
		*) echo "$file: '$_word' is not chosen: $(cat "$file")"; return 1 ;;
		esac
	done
	for _word in "" x "$default $default" "[$default]" "${default}x" 0 -1; do
		[ -z "$_word" ] || refuses "$_word" || return 1
	done
}

# Both ends of the range can be written, what is beyond them can't
numbers_ok() {
	_low=${range%..*}
	_high=${range#*..}
	refuses $((_high + 1)) && refuses $((_low - 1)) && refuses -1 &&
		refuses "$_low x" && refuses x || return 1
	case $mode in
	0200) takes "$_low"; return ;;
	esac
	takes "$_low" && same "$_low" "$(cat "$file")" &&
		takes "$_high" && same "$_high" "$(cat "$file")" &&
		takes "$default" && same "$default" "$(cat "$file")"
}

# One file of the table
file_ok() {
	mode_ok || return 1
	case $mode in
	0??[2367] | 0?[2367]?) echo "$file: others may not write"; return 1 ;;
	0200) ! cat "$file" >/dev/null 2>&1 || {
			echo "$file can be read"
			return 1
		} ;;
	*) format_ok || return 1 ;;
	esac
	if [ -n "$default" ]; then
		default_ok || return 1
	fi
	case $mode:$format in
	0644:choice)
		words_ok || return 1
		# Other files tell of it while it goes online again
		mts_settle
		;;
	0644:number | 0200:number) numbers_ok ;;
	0200:range) refuses x && refuses 0 ;;
	04*) ! put 1 "$file" || {
			# Root may open it all the same; writing must fail
			echo "$file can be written"
			return 1
		} ;;
	*) echo "abi.md: $mode:$format is not known"; return 1 ;;
	esac
}

mts_load || exit 1
regions=$(mts_stat regions)
table "$regions" >/tmp/table
ktap_plan $(($(wc -l </tmp/table) + 5))
while IFS='|' read -r file mode format range default; do
	if _said=$(file_ok 2>&1); then
		ktap_ok "${file#"$MTS_DEBUGFS"/}"
	else
		ktap_fail "${file#"$MTS_DEBUGFS"/}" "$_said"
	fi
done </tmp/table

# Nothing that isn't documented; the fault attributes are the kernel's.
undocumented=$({
	find $MTS_DEBUGFS -type f ! -path '*/fail_*'
	find $params $MTS_SYSFS -type f
	ls /proc/mte_tag_storage
} | while read -r file; do
	grep -q "^$file|" /tmp/table || echo "$file"
done)
if [ -z "$undocumented" ]; then
	ktap_ok "all files are documented"
else
	ktap_fail "all files are documented" "$(echo "$undocumented" | tr '\n' ' ')"
fi
# A document that lost its table would pass everything above
if [ "$(wc -l </tmp/table)" -ge 30 ]; then
	ktap_ok "abi.md has a table of $(wc -l </tmp/table) files"
else
	ktap_fail "abi.md has a table" "$(wc -l </tmp/table) files"
fi
check_audit abi
check "offline" wait_for 20 mts_offline
check "the module unloads" mts_unload
ktap_done
