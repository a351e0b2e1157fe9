/* SPDX-License-Identifier: Apache-2.0 */
/* A store, a layout to import from, and microvm-import as users run it. Nothing may be left over at a test's end. */
#ifndef IMAGE_GET_FIXTURE_H
#define IMAGE_GET_FIXTURE_H

#include "image/image.h"
#include "tests/unit/image_fixture.h"

#define LAYER(...) ((const struct fx_entry[]){ __VA_ARGS__, { 0 } })
#define HELLO LAYER({ 'd', "etc" }, { 'f', "etc/hello", "hello world\n" }, { 'f', "bin/sh", "#!", .mode = 0755 })

/* All below top: the layout dir, whose tag t is ref, and the store root. */
extern char top[64], dir[80], root[80], ref[120];
extern char importer[4096];
extern struct image_store *store;
extern struct image_get_options options;
extern struct err e;

void setup(void);
void teardown(void);
/* What is in a folder of the store, hidden files aside. */
unsigned int count(const char *folder);
/* Has to succeed. */
struct image *get(const char *text);
/* Has to fail with that errno, and words in its error. */
void assert_no(int code, const char *text, const char *words);
/* Makes dir a layout of one layer: HELLO. */
struct fx_image make_layout(void);

#endif
