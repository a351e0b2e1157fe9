#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a kernel's ELF file down to what a loader needs: trim-elf.py IN OUT.

The linker aligns text, read-only data and data to 2 MiB and fills the gaps, some megabytes that every start of a sandbox
would read and copy.  Here each loadable segment is cut at its long runs of filling (zero, or the 0xcc that follows text);
a run becomes memory without file contents, which a loader gives as zeroes.  Sections and symbols go, notes stay.
"""
import struct
import sys

PAGE = 4096
SHORTEST_RUN = 16 * PAGE
PT_LOAD, PT_NOTE = 1, 4
EHDR = struct.Struct('<16sHHIQQQIHHHHHH')
PHDR = struct.Struct('<IIQQQQQQ')


def filling(page):
    """Is this page all zero or all 0xcc?"""
    return page.count(0) == len(page) or page.count(0xCC) == len(page)


def pieces(data):
    """(start, file bytes) of the parts between long runs of filling; every part begins on a page."""
    parts, begin, run = [], 0, None
    for at in range(0, len(data) + PAGE, PAGE):
        if at < len(data) and filling(data[at:at + PAGE]):
            run = at if run is None else run
            continue
        if run is not None and (at - run >= SHORTEST_RUN or at >= len(data)):
            if run > begin:
                parts.append((begin, data[begin:run]))
            begin = at
        run = None
    if begin < len(data):
        parts.append((begin, data[begin:]))
    return parts


def main(source, target):
    with open(source, 'rb') as file:
        elf = file.read()
    header = list(EHDR.unpack_from(elf))
    if elf[:6] != b'\x7fELF\x02\x01':
        sys.exit(f'{source}: not a little-endian ELF64 file')
    table, size, count = header[5], header[9], header[10]
    segments = []  # (type, flags, vaddr, paddr, contents, memory size, alignment)
    for n in range(count):
        kind, flags, offset, vaddr, paddr, filesz, memsz, align = PHDR.unpack_from(elf, table + n * size)
        data = elf[offset:offset + filesz]
        if kind == PT_NOTE:
            segments.append((kind, flags, vaddr, paddr, data, memsz, align))
        elif kind == PT_LOAD:
            parts = pieces(data) or [(0, b'')]
            for i, (start, contents) in enumerate(parts):
                end = parts[i + 1][0] if i + 1 < len(parts) else memsz
                segments.append((kind, flags, vaddr + start, paddr + start, contents, end - start, PAGE))
    header[5], header[6] = EHDR.size, 0
    header[9:14] = PHDR.size, len(segments), 0, 0, 0
    with open(target, 'wb') as file:
        offset, headers, blobs = PAGE, [], []
        for kind, flags, vaddr, paddr, contents, memsz, align in segments:
            headers.append(PHDR.pack(kind, flags, offset, vaddr, paddr, len(contents), memsz, align))
            blobs.append((offset, contents))
            offset = (offset + len(contents) + PAGE - 1) // PAGE * PAGE
        file.write(EHDR.pack(*header) + b''.join(headers))
        for at, contents in blobs:
            file.seek(at)
            file.write(contents)


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit('usage: trim-elf.py IN OUT')
    main(sys.argv[1], sys.argv[2])
