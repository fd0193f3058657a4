"""A file's bytes are copied and its holes stay holes: lseek(2), SEEK_DATA and SEEK_HOLE.

Both files are open and the caller's; the kernel moves the bytes.  Where a file system knows no
holes, all is data.
"""

from __future__ import annotations

import errno
import os


def copy_data(source: int, copy: int, size: int) -> int:
    """Copy *size* bytes of one open file to another, an empty one; return how many were no hole.

    Less is copied of a file that is cut meanwhile.  Raises OSError.
    """
    os.ftruncate(copy, size)
    copied = end = 0
    while end < size:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return copied
            raise
        end = min(os.lseek(source, start, os.SEEK_HOLE), size)
        os.lseek(copy, start, os.SEEK_SET)
        while start < end:
            # copy_file_range(2) does not go from one kind of file system to another.
            sent = os.sendfile(copy, source, start, end - start)
            if sent == 0:
                return copied
            copied += sent
            start += sent
    return copied
