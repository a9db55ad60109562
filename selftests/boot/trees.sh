#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The module's reader of device trees and scripts/check/dt-check agree on each tree of
# trees.d. Started by scripts/check/trees.
#
# usage: trees COUNT

. ./lib.sh

file=/sys/kernel/debug/mte_tag_storage_kunit/tree
dir=trees.d

# agree NAME: refused or not, and with the same parts
agree() {
	dd if="$dir/$1.dtb" of=$file bs=65536 2>/dev/null || return 1
	cat $file >/tmp/said
	case $(cat "$dir/$1.expect"):$(cat /tmp/said) in
	"refused:refused "*) return 0 ;;
	esac
	cmp -s /tmp/said "$dir/$1.expect"
}

if [ ! -d $dir ]; then
	ktap_skip_all "started without trees"
fi
ktap_plan 3
check "the module's reader loads" insmod /lib/modules/mte_tag_storage_kunit.ko
seen=0
bad=0
for path in "$dir"/*.dtb; do
	name=$(basename "$path" .dtb)
	seen=$((seen + 1))
	agree "$name" && continue
	bad=$((bad + 1))
	echo "# tree $name ($(head -n 1 $dir/"$name".why))"
	sed 's/^/#   dt-check: /' "$dir/$name.expect"
	sed -n '2,$s/^/#   dt-check: /p' "$dir/$name.why"
	sed 's/^/#   module:   /' /tmp/said
done
if [ "$bad" = 0 ]; then
	ktap_ok "the same of all trees"
else
	ktap_fail "the same of all trees" "$bad of $seen differ"
fi
if [ "$seen" = "$1" ]; then
	ktap_ok "of all $seen"
else
	ktap_fail "of all" "$seen, not $1"
fi
rmmod mte_tag_storage_kunit
ktap_done
