#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The module's KUnit suites: their report in the kernel log becomes the verdict.

. ./lib.sh

if [ ! -e /lib/modules/mte_tag_storage_kunit.ko ]; then
	ktap_skip_all "no mte_tag_storage_kunit.ko"
fi

# The kernel may have KUnit built in.
if [ -e /lib/modules/kunit.ko ]; then
	insmod /lib/modules/kunit.ko || { echo "Bail out! kunit.ko"; exit 1; }
fi
dmesg -c >/dev/null
if ! insmod /lib/modules/mte_tag_storage_kunit.ko; then
	echo "Bail out! mte_tag_storage_kunit.ko does not load"
	exit 1
fi
dmesg | sed 's/^\(<[0-9]*>\)*\[[ 0-9.]*\] //' |
	sed -n '/^ *KTAP version 1/,$p' >/tmp/kunit.log
sed 's/^/    /' /tmp/kunit.log

# Suites are the lines of the outer level: those without a number of spaces that
# the subtests have. Their names and results become ours.
suites=$(grep -cE '^(not )?ok [0-9]+ ' /tmp/kunit.log)
cases=$(grep -cE '^ +(not )?ok [0-9]+ ' /tmp/kunit.log)
if [ "$suites" -eq 0 ] || [ "$cases" -eq 0 ]; then
	echo "Bail out! no KUnit result in the kernel log (is kunit.enable=1 set?)"
	exit 1
fi
ktap_plan $((suites + 1))
while read -r line; do
	case $line in
	"not ok "*) ktap_fail "${line#not ok * }" "see above" ;;
	*"# SKIP"*) ktap_skip "${line#ok * }" "by KUnit" ;;
	*) ktap_ok "${line#ok * }" ;;
	esac
done <<END
$(grep -E '^(not )?ok [0-9]+ ' /tmp/kunit.log)
END
failed=$(grep -cE '^ +not ok ' /tmp/kunit.log)
if [ "$failed" -eq 0 ]; then
	ktap_ok "$cases cases"
else
	ktap_fail "$cases cases" "$failed failed"
fi
rmmod mte_tag_storage_kunit
ktap_done
