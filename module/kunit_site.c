// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: more functions ask for tag storage than there are sites. site.c is the
 * module's own; not the same object, as that has messages, with the module's name.
 */
#include "site.c"	/* first: it defines pr_fmt */

#include <kunit/test.h>

/* Through the kernel's code, in steps that are shorter than most functions */
#define SITE_STEP	64UL
#define SITE_STEPS	16384UL

static void mts_site_many(struct kunit *test)
{
	const unsigned long start = (unsigned long)kfree;
	char *first = kunit_kzalloc(test, KSYM_SYMBOL_LEN, GFP_KERNEL);
	char *name = kunit_kzalloc(test, KSYM_SYMBOL_LEN, GFP_KERNEL);
	char *last = kunit_kzalloc(test, KSYM_SYMBOL_LEN, GFP_KERNEL);
	unsigned int id, id_first, id_last = 0, functions = 0;
	unsigned long i;

	KUNIT_ASSERT_NOT_NULL(test, first);
	KUNIT_ASSERT_NOT_NULL(test, name);
	KUNIT_ASSERT_NOT_NULL(test, last);
	sprint_symbol_no_offset(first, start);
	id_first = mts_site_get(start);
	for (i = 1; i < SITE_STEPS && functions < 2 * MTS_MAX_SITES; i++) {
		sprint_symbol_no_offset(name, start + i * SITE_STEP);
		id = mts_site_get(start + i * SITE_STEP);
		KUNIT_ASSERT_GT(test, id, 0U);
		KUNIT_ASSERT_LT(test, id, MTS_MAX_SITES);
		/* One function is one site; another one is another while there are some */
		if (!strcmp(name, first)) {
			KUNIT_EXPECT_EQ(test, id, id_first);
		} else if (!strcmp(name, last)) {
			KUNIT_EXPECT_EQ(test, id, id_last);
		} else {
			functions++;
			KUNIT_EXPECT_EQ(test, id, min(id_first + functions, MTS_MAX_SITES - 1));
		}
		strscpy(last, name, KSYM_SYMBOL_LEN);
		id_last = id;
	}
	KUNIT_EXPECT_EQ(test, functions, 2 * MTS_MAX_SITES);
	KUNIT_EXPECT_EQ(test, mts_site_get(start), id_first);
}

static struct kunit_case mts_site_cases[] = {
	KUNIT_CASE(mts_site_many),
	{}
};

static struct kunit_suite mts_site_suite = {
	.name = "mts_site",
	.test_cases = mts_site_cases,
};

kunit_test_suite(mts_site_suite);
