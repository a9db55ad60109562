// SPDX-License-Identifier: GPL-2.0
/*
 * The text of the module parameter ranges=: tag storage without a device tree.
 */
#include <linux/ctype.h>
#include <linux/kernel.h>
#include <linux/overflow.h>
#include <linux/string.h>

#include "geometry.h"

/* The longest number that 64 bits hold, with a suffix */
#define NUMBER_SIZE	24

/*
 * A number in decimal or, after 0x, in hex; K, M or G behind it multiply.
 * Return: what is behind it, or NULL.
 */
static const char *read_number(const char *s, u64 *value)
{
	bool hex = s[0] == '0' && (s[1] | 0x20) == 'x';
	const char *digits = s;
	char buf[NUMBER_SIZE];
	unsigned int shift = 0;
	size_t len;

	if (hex)
		digits += 2;
	for (s = digits; hex ? isxdigit(*s) : isdigit(*s); s++)
		;
	len = s - digits;
	/* No octal numbers: whoever writes 010 means something else */
	if (!len || len >= sizeof(buf) || (!hex && len > 1 && *digits == '0'))
		return NULL;
	memcpy(buf, digits, len);
	buf[len] = '\0';
	if (kstrtou64(buf, hex ? 16 : 10, value))
		return NULL;

	switch (*s) {
	case 'G':
	case 'g':
		shift += 10;
		fallthrough;
	case 'M':
	case 'm':
		shift += 10;
		fallthrough;
	case 'K':
	case 'k':
		shift += 10;
		s++;
	}
	return check_shl_overflow(*value, shift, value) ? NULL : s;
}

/* "start+size". Return: NULL, or what is wrong at *at. */
static const char *read_span(const char **at, struct mts_span *span)
{
	const char *end = read_number(*at, &span->start);

	if (!end)
		return "is not an address";
	*at = end;
	if (*end != '+')
		return "should be a + and a size";
	*at = end + 1;
	end = read_number(*at, &span->size);
	if (!end)
		return "is not a size";
	*at = end;
	return NULL;
}

/* "span@span[@span...]/size" */
static const char *read_entry(const char **at, struct mts_carveout *c)
{
	const char *error, *end;

	memset(c, 0, sizeof(*c));
	error = read_span(at, &c->storage[c->nr_storage++]);
	if (error)
		return error;
	if (**at != '@')
		return "should be an @ and the memory that is served";
	while (**at == '@') {
		if (c->nr_memory == MTS_MAX_SPANS)
			return "is one range too many";
		(*at)++;
		error = read_span(at, &c->memory[c->nr_memory++]);
		if (error)
			return error;
	}
	if (**at != '/')
		return "should be a / and the block size";
	(*at)++;
	end = read_number(*at, &c->block_size);
	if (!end)
		return "is not a block size";
	*at = end;
	return NULL;
}

/**
 * mts_ranges_parse() - read a description of carve-outs
 * @text:	storage+size@memory+size[@memory+size...]/block-size, and more of
 *		these after commas; blanks around all of it don't matter
 * @c:		the result, as it is written
 * @max:	length of @c
 * @nr:		how many there are, with the bad one if there is one
 * @where:	where the error is in @text
 *
 * Return: NULL, or what is wrong, to be put behind what is at @where.
 */
const char *mts_ranges_parse(const char *text, struct mts_carveout *c,
			     unsigned int max, unsigned int *nr,
			     const char **where)
{
	const char *error;

	*nr = 0;
	*where = skip_spaces(text);
	do {
		if (*nr == max)
			return "is one carve-out too many";
		error = read_entry(where, &c[(*nr)++]);
		if (error)
			return error;
	} while (**where == ',' && (*where)++);
	if (*skip_spaces(*where))
		return "should be a comma or the end";
	return NULL;
}
