"""Disks that misbehave in a way no mount can: a few lines of C before the C library's write() and writev().

Only session files (`*.log`) are meant, so that the program's own output stays whole.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["preload"]

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_session_file(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 4) return 0;
    path[size] = 0;
    return !strcmp(path + size - 4, ".log");
}

ssize_t write(int fd, const void *data, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    static unsigned calls;
    if (!real) real = dlsym(RTLD_NEXT, "write");
    const char *hang = getenv("HANG_WHILE"), *how = getenv("SHORT_WRITES");
    if ((hang || how) && is_session_file(fd)) {
        while (hang && !access(hang, F_OK)) usleep(1000);
        if (how) {
            calls++;
            if (calls % 5 == 0) { errno = EIO; return -1; }
            if (calls % 7 == 0) { errno = EINTR; return -1; }
            if (size > 1) size = 1 + (calls * 2654435761u >> 8) % (size - 1);
        }
    }
    return real(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *blocks, int count) {
    size_t size = 0;
    for (int i = 0; i < count; i++) size += blocks[i].iov_len;
    char *data = malloc(size ? size : 1), *end = data;
    for (int i = 0; i < count; i++) end = mempcpy(end, blocks[i].iov_base, blocks[i].iov_len);
    ssize_t taken = write(fd, data, size);
    int error = errno;
    free(data);
    errno = error;
    return taken;
}
"""


def preload(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs started from here on have the shim before their write()."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc for a shim before write()")
    (place / "shim.c").write_text(SOURCE)
    built = subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-o", place / "shim.so", place / "shim.c", "-ldl"], capture_output=True
    )
    if built.returncode:
        pytest.skip(f"gcc cannot build the shim: {built.stderr.decode()[-200:]}")
    monkeypatch.setenv("LD_PRELOAD", str(place / "shim.so"))
