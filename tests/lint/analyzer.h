/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For clang-tidy alone, included before each file: these never return 0, which the analyzer can't see from outside of
 * err.c and json.c, so that it would take every failed call for a success that left its results unset.
 */
#ifndef LINT_ANALYZER_H
#define LINT_ANALYZER_H

#include "base/err.h"
#include "base/json.h"

#define err_set(...) ((void)err_set(__VA_ARGS__), -1)
#define err_errno(...) ((void)err_errno(__VA_ARGS__), -1)
#define err_wrap(...) ((void)err_wrap(__VA_ARGS__), -1)
#define json_fail(...) ((void)json_fail(__VA_ARGS__), -1)

#endif
