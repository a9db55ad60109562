// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: the text of the module parameter ranges=.
 */
#include <kunit/test.h>
#include <linux/sizes.h>

#include "geometry.h"

#define MAX_CARVEOUTS	4

struct text_case {
	const char *text;
	const char *error;	/* NULL: none */
	long at;		/* of the error */
};

static const struct text_case text_cases[] = {
	{ "", "not an address", 0 },
	{ " ", "not an address", 1 },
	{ ",", "not an address", 0 },
	{ "x", "not an address", 0 },
	{ "0x", "not an address", 0 },
	{ "+1M@0+32M/4K", "not an address", 0 },
	{ "-1+1M@0+32M/4K", "not an address", 0 },
	{ " \t0x80000000+1M@0+32M/4K", NULL },
	{ "0x80000000", "+ and a size", 10 },
	{ "0x80000000 +1M@0+32M/4K", "+ and a size", 10 },
	{ "0x80000000-0x80ffffff@0+32M/4K", "+ and a size", 10 },
	{ "0x80000000+@0+32M/4K", "not a size", 11 },
	{ "0x80000000+M@0+32M/4K", "not a size", 11 },
	{ "0x80000000+1MB@0+32M/4K", "an @", 13 },
	{ "0x80000000+1KM@0+32M/4K", "an @", 13 },
	{ "0x80000000+1T@0+32M/4K", "an @", 12 },
	{ "0x80000000+1M", "an @", 13 },
	{ "0x80000000+1M/4K", "an @", 13 },
	{ "0x80000000+1M@", "not an address", 14 },
	{ "0x80000000+1M@@0+32M/4K", "not an address", 14 },
	{ "0x80000000+1M@0/4K", "+ and a size", 15 },
	{ "0x80000000+1M@0+32M", "a /", 19 },
	{ "0x80000000+1M@0+32M,", "a /", 19 },
	{ "0x80000000+1M@0+32M@", "not an address", 20 },
	{ "0x80000000+1M@0+32M/", "not a block size", 20 },
	{ "0x80000000+1M@0+32M/,", "not a block size", 20 },
	{ "0x80000000+1M@0+32M//4K", "not a block size", 20 },
	{ "0x80000000+1M@0+32M/4K/4K", "comma or the end", 22 },
	{ "0x80000000+1M@0+32M/4K;", "comma or the end", 22 },
	{ "0x80000000+1M@0+32M/4K@0", "comma or the end", 22 },
	{ "0x80000000+1M@0+32M/4K x", "comma or the end", 22 },
	{ "0x80000000+1M@0+32M/4K\n", NULL },
	{ "0x80000000+1M@0+32M/4K,", "not an address", 23 },
	{ "0x80000000+1M@0+32M/4K,,", "not an address", 23 },
	{ "0x80000000+1M@0+32M/4K, 1G+1M@0+32M/4K", "not an address", 23 },
	{ "2G+1M@0+32M/4K,3G+1M@1G+32M/4K", NULL },
	{ "2G+1M@0+16M@1G+16M/4K", NULL },
	{ "2G+1M@0+32M/4096", NULL },
	{ "2g+1m@0+32m/4k", NULL },
	{ "0X80000000+0x100000@0x0+0x2000000/0x1000", NULL },
	{ "0x2G+1M@0+32M/4K", NULL },
	/* No octal numbers, none that 64 bits don't hold */
	{ "010+1M@0+32M/4K", "not an address", 0 },
	{ "00+1M@0+32M/4K", "not an address", 0 },
	{ "0xffffffffffffffff+1M@0+32M/4K", NULL },
	{ "0x1ffffffffffffffff+1M@0+32M/4K", "not an address", 0 },
	{ "18446744073709551616+1M@0+32M/4K", "not an address", 0 },
	{ "00000000000000000000000000000001+1M@0+32M/4K", "not an address", 0 },
	{ "17179869183G+1M@0+32M/4K", NULL },
	{ "17179869184G+1M@0+32M/4K", "not an address", 0 },
	{ "0xffffffffffffffffK+1M@0+32M/4K", "not an address", 0 },
	{ "0x80000000+0xffffffffffffffffffffffff@0+32M/4K", "not a size", 11 },
	/* One carve-out more than there is room for, one bank more */
	{ "1G+1M@0+32M/4K,1G+1M@0+32M/4K,1G+1M@0+32M/4K,1G+1M@0+32M/4K", NULL },
	{ "1G+1M@0+32M/4K,1G+1M@0+32M/4K,1G+1M@0+32M/4K,1G+1M@0+32M/4K,x",
	  "carve-out too many", 60 },
	{ "1G+1M@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0+1/4K",
	  NULL },
	{ "1G+1M@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0+1@0/4K",
	  "range too many", 69 },
};

KUNIT_ARRAY_PARAM(text_case, text_cases, NULL);

static void mts_ranges_text(struct kunit *test)
{
	const struct text_case *c = test->param_value;
	struct mts_carveout *carveouts;
	const char *error, *where;
	unsigned int nr;

	carveouts = kunit_kcalloc(test, MAX_CARVEOUTS, sizeof(*carveouts),
				  GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, carveouts);
	error = mts_ranges_parse(c->text, carveouts, MAX_CARVEOUTS, &nr, &where);
	if (!c->error) {
		KUNIT_EXPECT_NULL_MSG(test, error, "\"%s\": \"%s\" %s", c->text,
				      where, error);
		return;
	}
	KUNIT_ASSERT_NOT_NULL_MSG(test, error, "\"%s\"", c->text);
	KUNIT_EXPECT_NOT_NULL_MSG(test, strstr(error, c->error),
				  "\"%s\": \"%s\" %s", c->text, where, error);
	KUNIT_EXPECT_EQ_MSG(test, where - c->text, c->at, "\"%s\": \"%s\" %s",
			    c->text, where, error);
}

static void mts_ranges_values(struct kunit *test)
{
	static const char text[] =
		"0x5f000000+16M@0x40000000+0x1f000000@4G+16m/8k,9G+1048576@33554432+32M/65536\n";
	struct mts_carveout *c;
	const char *where;
	unsigned int nr;

	c = kunit_kcalloc(test, MAX_CARVEOUTS, sizeof(*c), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, c);
	KUNIT_ASSERT_NULL(test,
			  mts_ranges_parse(text, c, MAX_CARVEOUTS, &nr, &where));
	KUNIT_ASSERT_EQ(test, nr, 2);
	KUNIT_EXPECT_EQ(test, c[0].nr_storage, 1);
	KUNIT_EXPECT_EQ(test, c[0].storage[0].start, 0x5f000000);
	KUNIT_EXPECT_EQ(test, c[0].storage[0].size, SZ_16M);
	KUNIT_ASSERT_EQ(test, c[0].nr_memory, 2);
	KUNIT_EXPECT_EQ(test, c[0].memory[0].start, SZ_1G);
	KUNIT_EXPECT_EQ(test, c[0].memory[0].size, 0x1f000000);
	KUNIT_EXPECT_EQ(test, c[0].memory[1].start, 4ULL * SZ_1G);
	KUNIT_EXPECT_EQ(test, c[0].memory[1].size, SZ_16M);
	KUNIT_EXPECT_EQ(test, c[0].block_size, SZ_8K);
	KUNIT_EXPECT_EQ(test, c[1].storage[0].start, 9ULL * SZ_1G);
	KUNIT_EXPECT_EQ(test, c[1].storage[0].size, SZ_1M);
	KUNIT_ASSERT_EQ(test, c[1].nr_memory, 1);
	KUNIT_EXPECT_EQ(test, c[1].memory[0].start, SZ_32M);
	KUNIT_EXPECT_EQ(test, c[1].memory[0].size, SZ_32M);
	KUNIT_EXPECT_EQ(test, c[1].block_size, SZ_64K);
}

static struct kunit_case mts_ranges_cases[] = {
	KUNIT_CASE_PARAM(mts_ranges_text, text_case_gen_params),
	KUNIT_CASE(mts_ranges_values),
	{}
};

static struct kunit_suite mts_ranges_suite = {
	.name = "mts_ranges",
	.test_cases = mts_ranges_cases,
};

kunit_test_suite(mts_ranges_suite);
