/* Preloaded into a daemon under test: writes down what it does to the files below one directory, and when.

   Each entry says when the call began and when it had ended, by the clock that all processes share. An entry is one
   write to a file opened with O_APPEND, so that entries of several threads never mix. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, TRUNCATE, SYNC, RENAME, UNLINK };

struct entry {
    uint64_t began, ended;
    uint32_t kind, name_length;
    uint64_t offset, length;
};

static char below[PATH_MAX];
static size_t below_length;
static int recording = -1;

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("HMSACT_RECORDING"), *directory = getenv("HMSACT_RECORDING_BELOW");
    if (!file || !directory) return;
    below_length = snprintf(below, sizeof below, "%s", directory);
    recording = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (recording < 0) abort();
}

static uint64_t now(void) {
    struct timespec at;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000ULL + at.tv_nsec;
}

static int is_ours(const char *path) {
    return recording >= 0 && !strncmp(path, below, below_length) && (path[below_length] == '/' || !path[below_length]);
}

static int path_of(int fd, char *path) {
    char link[64];
    if (recording < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_ours(path);
}

static void note(uint32_t kind, uint64_t began, const char *path, uint64_t offset, const void *data, uint64_t length) {
    struct entry entry = {began, now(), kind, strlen(path), offset, length};
    struct iovec parts[3] = {{&entry, sizeof entry}, {(void *)path, entry.name_length}, {(void *)data, data ? length : 0}};
    if (!data) entry.length = 0;
    if (syscall(SYS_writev, recording, parts, 3) != (long)(sizeof entry + entry.name_length + entry.length)) abort();
}

#define NEXT(name) (next ? next : (next = dlsym(RTLD_NEXT, #name)))

#define PWRITE(name, off)                                               \
    ssize_t name(int fd, const void *data, size_t count, off at) {      \
        static ssize_t (*next)(int, const void *, size_t, off);         \
        char path[PATH_MAX];                                            \
        int ours = path_of(fd, path);                                   \
        uint64_t began = ours ? now() : 0;                              \
        ssize_t done = NEXT(name)(fd, data, count, at);                 \
        if (ours && done > 0) note(WRITE, began, path, at, data, done); \
        return done;                                                    \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t write(int fd, const void *data, size_t count) {
    static ssize_t (*next)(int, const void *, size_t);
    char path[PATH_MAX];
    int ours = path_of(fd, path);
    uint64_t began = ours ? now() : 0;
    ssize_t done = NEXT(write)(fd, data, count);
    if (ours && done > 0) note(WRITE, began, path, lseek(fd, 0, SEEK_CUR) - done, data, done);
    return done;
}

#define SYNC_BY(name)                                        \
    int name(int fd) {                                       \
        static int (*next)(int);                             \
        char path[PATH_MAX];                                 \
        int ours = path_of(fd, path);                        \
        uint64_t began = ours ? now() : 0;                   \
        int result = NEXT(name)(fd);                         \
        if (ours && !result) note(SYNC, began, path, 0, 0, 0); \
        return result;                                       \
    }
SYNC_BY(fsync)
SYNC_BY(fdatasync)

#define TRUNCATE_BY(name, off)                                        \
    int name(int fd, off length) {                                    \
        static int (*next)(int, off);                                 \
        char path[PATH_MAX];                                          \
        int ours = path_of(fd, path);                                 \
        uint64_t began = ours ? now() : 0;                            \
        int result = NEXT(name)(fd, length);                          \
        if (ours && !result) note(TRUNCATE, began, path, length, 0, 0); \
        return result;                                                \
    }
TRUNCATE_BY(ftruncate, off_t)
TRUNCATE_BY(ftruncate64, off64_t)

#define OPEN_BY(name)                                                                    \
    int name(const char *path, int flags, ...) {                                         \
        static int (*next)(const char *, int, ...);                                      \
        va_list more;                                                                    \
        va_start(more, flags);                                                           \
        mode_t mode = va_arg(more, mode_t);                                              \
        va_end(more);                                                                    \
        int ours = is_ours(path);                                                        \
        uint64_t began = ours ? now() : 0;                                               \
        int is_new = ours && (flags & O_CREAT) && access(path, F_OK);                    \
        int fd = NEXT(name)(path, flags, mode);                                          \
        if (ours && fd >= 0 && is_new) note(CREATE, began, path, 0, 0, 0);               \
        if (ours && fd >= 0 && !is_new && (flags & O_TRUNC)) note(TRUNCATE, began, path, 0, 0, 0); \
        return fd;                                                                       \
    }
OPEN_BY(open)
OPEN_BY(open64)

int rename(const char *from, const char *to) {
    static int (*next)(const char *, const char *);
    uint64_t began = now();
    int result = NEXT(rename)(from, to);
    if (!result && is_ours(to)) note(RENAME, began, from, 0, to, strlen(to));
    return result;
}

int unlink(const char *path) {
    static int (*next)(const char *);
    uint64_t began = now();
    int result = NEXT(unlink)(path);
    if (!result && is_ours(path)) note(UNLINK, began, path, 0, 0, 0);
    return result;
}
