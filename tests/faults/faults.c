/* Preloaded into a daemon under test: disks that fill, fail or become read-only, and a clock that somebody sets.

   What is to happen stands in a file that the test writes and every process maps. Only files below one directory are
   touched; everything else is passed on as it is. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

struct plan {
    int64_t free_bytes;      /* what statvfs says; -1: the truth */
    int64_t clock_ahead_ns;  /* how far the time of day is ahead */
    int32_t is_full;         /* no file grows */
    int32_t is_read_only;    /* nothing is opened for writing, nothing written */
    int32_t fsync_fails;     /* so many of the next fsyncs fail with EIO; -1: all */
    int32_t write_fails;     /* so many of the next writes fail with EIO; -1: all */
    int32_t fsyncs_failed;   /* counted for the test */
    int32_t writes_failed;
    int32_t writes_before;   /* so many writes succeed before write_fails counts */
    int32_t fsyncs_before;   /* and so many fsyncs */
    int32_t growths_before;  /* and so many writes by which a file grows, or files that are made */
    int32_t growth_fails;    /* so many of the growths after that fail with ENOSPC; -1: all, and the disk is full */
};

static struct plan *plan;
static char directory[PATH_MAX];
static size_t directory_length;

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("HMSACT_FAULTS"), *below = getenv("HMSACT_FAULTS_BELOW");
    if (!file || !below) return;
    int (*open_)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int fd = open_(file, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *mapped = mmap(NULL, sizeof(struct plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED) return;
    snprintf(directory, sizeof directory, "%s/", below);
    directory_length = strlen(directory);
    plan = mapped;
}

static int is_ours_path(const char *path) { return plan && path && !strncmp(path, directory, directory_length); }

static int is_ours(int fd) {
    char link[64], path[PATH_MAX];
    if (!plan) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_ours_path(path);
}

static int takes_place(int32_t *before, int32_t *left) {
    if (*before > 0) return (*before)--, 0;
    if (*left < 0) return 1;
    if (*left == 0) return 0;
    (*left)--;
    return 1;
}

static int is_full(void) { return plan->is_full || (plan->growths_before == 0 && plan->growth_fails < 0); }

static int growth_refuses(void) {
    if (!plan->is_full && !takes_place(&plan->growths_before, &plan->growth_fails)) return 0;
    return plan->writes_failed++, errno = ENOSPC, 1;
}

static int refuses(int fd, int64_t until) {
    struct stat found;
    if (!is_ours(fd)) return 0;
    if (plan->is_read_only) return errno = EROFS, 1;
    if (takes_place(&plan->writes_before, &plan->write_fails)) return plan->writes_failed++, errno = EIO, 1;
    return (fstat(fd, &found) || until > found.st_size) && growth_refuses();
}

#define NEXT(name) (next ? next : (next = dlsym(RTLD_NEXT, #name)))

ssize_t pwrite64(int fd, const void *data, size_t count, off64_t at) {
    static ssize_t (*next)(int, const void *, size_t, off64_t);
    return refuses(fd, at + count) ? -1 : NEXT(pwrite64)(fd, data, count, at);
}
ssize_t pwrite(int fd, const void *data, size_t count, off_t at) {
    static ssize_t (*next)(int, const void *, size_t, off_t);
    return refuses(fd, at + count) ? -1 : NEXT(pwrite)(fd, data, count, at);
}
ssize_t write(int fd, const void *data, size_t count) {
    static ssize_t (*next)(int, const void *, size_t);
    return plan && is_ours(fd) && refuses(fd, lseek(fd, 0, SEEK_CUR) + count) ? -1 : NEXT(write)(fd, data, count);
}
static int fsync_refuses(int fd) {
    if (!is_ours(fd) || !takes_place(&plan->fsyncs_before, &plan->fsync_fails)) return 0;
    plan->fsyncs_failed++;
    errno = EIO;
    return 1;
}
int fsync(int fd) {
    static int (*next)(int);
    return fsync_refuses(fd) ? -1 : NEXT(fsync)(fd);
}
int fdatasync(int fd) {
    static int (*next)(int);
    return fsync_refuses(fd) ? -1 : NEXT(fdatasync)(fd);
}
static int open_refuses(const char *path, int flags) {
    if (!is_ours_path(path)) return 0;
    if (plan->is_read_only && (flags & O_ACCMODE) != O_RDONLY) return errno = EROFS, 1;
    return (flags & O_CREAT) && access(path, F_OK) && growth_refuses();
}
#define OPEN(name)                                                                   \
    int name(const char *path, int flags, ...) {                                     \
        static int (*next)(const char *, int, ...);                                  \
        va_list more;                                                                \
        va_start(more, flags);                                                       \
        mode_t mode = va_arg(more, mode_t);                                          \
        va_end(more);                                                                \
        return open_refuses(path, flags) ? -1 : NEXT(name)(path, flags, mode);       \
    }
OPEN(open)
OPEN(open64)

static void tell(struct statvfs *found) {
    if (plan->is_read_only) found->f_flag |= ST_RDONLY;
    if (plan->free_bytes >= 0) found->f_bavail = plan->free_bytes / found->f_frsize;
    if (is_full()) found->f_bavail = 0;
}
int statvfs(const char *path, struct statvfs *found) {
    static int (*next)(const char *, struct statvfs *);
    int result = NEXT(statvfs)(path, found);
    if (!result && plan) tell(found);
    return result;
}
int statvfs64(const char *path, struct statvfs64 *found) {
    static int (*next)(const char *, struct statvfs64 *);
    int result = NEXT(statvfs64)(path, found);
    if (!result && plan) tell((struct statvfs *)found);
    return result;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*next)(clockid_t, struct timespec *);
    int result = NEXT(clock_gettime)(clock, now);
    if (!result && plan && clock == CLOCK_REALTIME) {
        int64_t ns = now->tv_sec * 1000000000LL + now->tv_nsec + plan->clock_ahead_ns;
        now->tv_sec = ns / 1000000000LL;
        now->tv_nsec = ns % 1000000000LL;
    }
    return result;
}
