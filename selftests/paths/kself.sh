#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The kernel's own selftests (scripts/build/kselftests), with all of tag storage
# in use for data: the results have to be those of the unmodified kernel. They
# are listed below; the same test without the module, on that kernel, checks that
# the list is true.
#
# usage: kself online|absent DIR/PROGRAM ...

. ./lib.sh
. ./hold

# PROGRAM PASSED SKIPPED FAILED [PAGE], on the unmodified kernel, on the machine of
# tests.list; the first line counts that is for pages of PAGE bytes, or for any.
# Failures there: those that need hugetlb pages (migration), a swap device
# (khugepaged). With larger pages cow knows more sizes, and uffd-unit-tests can't
# make a file of huge pages, and ends. With 64K pages, where a huge page has 512 MiB,
# more fail or end at once; these are counted on the patched kernel without the module.
# "-": it doesn't end in two minutes.
expected() {
	awk -v name="$1" -v page="$(./mts_tool page)" '
		$1 == name && (!$5 || $5 == page) { print $2, $3, $4; found = 1; exit }
		END { exit !found }' <<-END
	mte/check_buffer_fill 20 0 0
	mte/check_child_memory 12 0 0
	mte/check_gcr_el1_cswitch 1 0 0
	mte/check_hugetlb_options 0 0 0 65536
	mte/check_hugetlb_options 0 1 0
	mte/check_ksm_options 4 0 0
	mte/check_mmap_options 22 0 0
	mte/check_prctl 5 0 0
	mte/check_tags_inclusion 4 0 0
	mte/check_user_mem 64 0 0
	mm/cow - - - 65536
	mm/cow 343 620 0 16384
	mm/cow 279 533 0
	mm/khugepaged 6 0 4 65536
	mm/khugepaged 57 0 4
	mm/ksm_functional_tests 7 0 1 65536
	mm/ksm_functional_tests 10 0 0
	mm/madv_populate 16 0 0
	mm/migration 4 0 2
	mm/mremap_test 19 0 0
	mm/split_huge_page_test 0 0 0 65536
	mm/split_huge_page_test 3 0 0
	mm/uffd-unit-tests 5 0 0 16384
	mm/uffd-unit-tests 5 0 0 65536
	mm/uffd-unit-tests 35 30 0
	END
}

# Counts the results: TAP, or what uffd-unit-tests and khugepaged print.
count() {
	tr '\r' '\n' <"$1" | awk '
		{ gsub(/\033\[[0-9;]*m/, "") }
		/^1\.\.0 # SKIP/ { skipped++; next }
		/^ok .*# SKIP/ || /\.\.\. *skipped/ || /\.\.\. *Skip$/ { skipped++; next }
		/^not ok / || /\.\.\. *failed/ || /\.\.\. *Fail$/ { failed++; next }
		/^ok / || /\.\.\. *done$/ || /\.\.\. *OK$/ { passed++ }
		END { print passed + 0, skipped + 0, failed + 0 }'
}

mode=$1
shift
if [ "$mode" = online ]; then
	ktap_plan $(($# + 5))
	check "the module loads" mts_load
	check "data fills tag storage" hold_start 5 fill
	hold_report 5
else
	ktap_plan $#
fi

out=/tmp/kselftest.out
run() {
	(cd "kselftest/${1%/*}" && timeout "$(scaled 120)" "./${1##*/}") >$out 2>&1
}

for prog; do
	want=$(expected "$prog")
	if [ "$want" = "- - -" ]; then
		ktap_skip "$prog" "for 4K pages"
		continue
	fi
	run "$prog"
	status=$?
	# "events" of uffd-unit-tests copies a page while its child unmaps or moves the
	# memory: the kernel says ENOENT then, which it takes for an error
	tries=1
	while [ $status -ne 0 ] && [ $tries -lt 4 ] && grep -q 'UFFDIO_COPY error: -2 ' $out; do
		echo "# $prog: UFFDIO_COPY met an event of the child; again"
		run "$prog"
		status=$?
		tries=$((tries + 1))
	done
	got=$(count $out)
	if [ -n "$want" ] && [ "$got" = "$want" ]; then
		ktap_ok "$prog: passed, skipped, failed: $got"
		continue
	fi
	tr '\r' '\n' <$out | tail -n 60 | sed 's/^/# /'
	ktap_fail "$prog" "passed, skipped, failed: $got, expected: ${want:-nothing}; exit status $status"
done
[ "$mode" = online ] || ktap_done

if hold_finish 5; then
	ktap_ok "the data in tag storage is as before"
else
	ktap_fail "the data in tag storage is as before"
fi
hold_report 5
grep -vE '^mts-stats ' "$MTS_DEBUGFS/stats" | sed 's/^/# /'
check_audit kself
check "offline" wait_for 20 mts_offline
ktap_done
