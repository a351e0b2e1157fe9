/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_IMPORT_CONFINE_H
#define IMAGE_IMPORT_CONFINE_H

/*
 * Gives up, for this process and its children and for good, what an import doesn't need: decoders of a stranger's bytes
 * run in it, as root. What stays is writing below store, reading source and the system's programs and libraries, and the
 * capabilities that making files of any owner takes. There is no network. Where the kernel can't do one of these
 * (Landlock before 5.19, say), the others still hold.
 */
void import_confine(const char *store, const char *source);

#endif
