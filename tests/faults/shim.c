/* Faults of the operating system, by LD_PRELOAD: calls below one folder are counted, killed or refused.
 *
 * fault_arm(mode, at, error, folder) begins; the counter lies in memory shared with the forking parent.
 *   COUNT   count calls that change the folder
 *   KILL    SIGKILL at call `at`; a write is cut in half first
 *   CALLS   from call `at` on, calls fail with `error`; with ENOSPC removing still works
 *   BYTES   after `at` bytes of data, writes fail with `error`
 *   READS   after `at` bytes read, reads fail with `error`
 * fault_no_locks() lets flock and fcntl locks fail as on a mount without them (ENOLCK).
 * fault_clock(seconds) lets the time of day go backwards by so much at every look.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { OFF, COUNT, KILL, CALLS, BYTES, READS };

static struct { volatile long calls, bytes; } *shared;
static int mode, error_number, no_locks;
static long limit;
static double back;
static char folder[4096];

#define REAL(name) ({ static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })

__attribute__((constructor)) static void begin(void) {
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

void fault_arm(int new_mode, long at, int error, const char *below) {
    shared->calls = shared->bytes = 0;
    limit = at;
    error_number = error;
    snprintf(folder, sizeof folder, "%s", below);
    mode = new_mode;
}
void fault_no_locks(void) { no_locks = 1; }
void fault_clock(double seconds) { back = seconds; }
long fault_calls(void) { return shared->calls; }
long fault_bytes(void) { return shared->bytes; }

static int below(const char *path) {
    return path && strncmp(path, folder, strlen(folder)) == 0;
}
static int below_handle(int handle) {
    char name[64], path[4096];
    snprintf(name, sizeof name, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}
static int below_at(int handle, const char *path) {
    return path && (path[0] == '/' || handle == AT_FDCWD ? below(path) : below_handle(handle));
}

/* Count a call; return -1 with errno if it has to fail. */
static int refused(int removes) {
    if (mode == OFF || mode == READS) return 0;
    long number = ++shared->calls;
    if (mode == KILL && number == limit) raise(SIGKILL);
    if (mode == CALLS && number >= limit && !(removes && error_number == ENOSPC)) {
        errno = error_number;
        return -1;
    }
    return 0;
}

/* As refused, for a write of `size` bytes; *size may become less. */
static int refused_write(size_t *size) {
    if (mode == KILL) {
        long number = ++shared->calls;
        return number == limit ? 1 : 0;
    }
    if (refused(0)) return -1;
    if (mode == BYTES) {
        long left = limit - shared->bytes;
        if (left <= 0) {
            errno = error_number;
            return -1;
        }
        if ((long)*size > left) *size = left;
        shared->bytes += *size;
    } else if (mode == COUNT) {
        shared->bytes += *size;
    }
    return 0;
}

#define WRITE(handle, size, whole, half)                    \
    if (mode != OFF && mode != READS && below_handle(handle)) { \
        int state = refused_write(&size);                   \
        if (state < 0) return -1;                           \
        if (state > 0) { size /= 2; half; raise(SIGKILL); } \
    }                                                       \
    return whole;

ssize_t write(int handle, const void *data, size_t size) {
    WRITE(handle, size, REAL(write)(handle, data, size), (void)!REAL(write)(handle, data, size))
}
ssize_t pwrite(int handle, const void *data, size_t size, off_t at) {
    WRITE(handle, size, REAL(pwrite)(handle, data, size, at), (void)!REAL(pwrite)(handle, data, size, at))
}
ssize_t pwrite64(int handle, const void *data, size_t size, off64_t at) {
    WRITE(handle, size, REAL(pwrite64)(handle, data, size, at), (void)!REAL(pwrite64)(handle, data, size, at))
}

#define READ(handle, size, whole)                           \
    if (mode == READS && below_handle(handle)) {            \
        if (shared->bytes >= limit) {                       \
            errno = error_number;                           \
            return -1;                                      \
        }                                                   \
        shared->bytes += size;                              \
    } else if (mode == COUNT && below_handle(handle)) {     \
        shared->bytes += size;                              \
    }                                                       \
    return whole;

ssize_t read(int handle, void *data, size_t size) { READ(handle, size, REAL(read)(handle, data, size)) }
ssize_t pread(int handle, void *data, size_t size, off_t at) {
    READ(handle, size, REAL(pread)(handle, data, size, at))
}
ssize_t pread64(int handle, void *data, size_t size, off64_t at) {
    READ(handle, size, REAL(pread64)(handle, data, size, at))
}
ssize_t preadv64(int handle, const struct iovec *parts, int count, off64_t at) {
    READ(handle, parts[0].iov_len, REAL(preadv64)(handle, parts, count, at))
}

#define CHANGE(where, removes, call)                        \
    if (mode != OFF && (where) && refused(removes)) return -1; \
    return call;

int fsync(int handle) { CHANGE(below_handle(handle), 0, REAL(fsync)(handle)) }
int ftruncate(int handle, off_t size) { CHANGE(below_handle(handle), 0, REAL(ftruncate)(handle, size)) }
int ftruncate64(int handle, off64_t size) { CHANGE(below_handle(handle), 0, REAL(ftruncate64)(handle, size)) }
int rename(const char *from, const char *to) { CHANGE(below(from), 0, REAL(rename)(from, to)) }
int mkdir(const char *path, mode_t bits) { CHANGE(below(path), 0, REAL(mkdir)(path, bits)) }
int rmdir(const char *path) { CHANGE(below(path), 1, REAL(rmdir)(path)) }
int unlink(const char *path) { CHANGE(below(path), 1, REAL(unlink)(path)) }
int unlinkat(int at, const char *path, int flags) {
    CHANGE(below_at(at, path), 1, REAL(unlinkat)(at, path, flags))
}

/* Opening a file that may be made or changed; reading alone is no change. */
#define OPEN(where, call)                                   \
    mode_t bits = 0;                                        \
    if (flags & (O_CREAT | O_TMPFILE)) {                    \
        va_list rest;                                       \
        va_start(rest, flags);                              \
        bits = va_arg(rest, mode_t);                        \
        va_end(rest);                                       \
    }                                                       \
    CHANGE((flags & O_CREAT) && (where), 0, call)

int open(const char *path, int flags, ...) { OPEN(below(path), REAL(open)(path, flags, bits)) }
int open64(const char *path, int flags, ...) { OPEN(below(path), REAL(open64)(path, flags, bits)) }
int openat(int at, const char *path, int flags, ...) {
    OPEN(below_at(at, path), REAL(openat)(at, path, flags, bits))
}
int openat64(int at, const char *path, int flags, ...) {
    OPEN(below_at(at, path), REAL(openat64)(at, path, flags, bits))
}

int flock(int handle, int operation) {
    int (*real)(int, int) = dlsym(RTLD_NEXT, "flock");
    if (no_locks) {
        errno = ENOLCK;
        return -1;
    }
    return real(handle, operation);
}
#define FCNTL(name)                                         \
    int name(int handle, int command, ...) {                \
        va_list rest;                                       \
        va_start(rest, command);                            \
        void *argument = va_arg(rest, void *);              \
        va_end(rest);                                       \
        int (*real)(int, int, ...) = dlsym(RTLD_NEXT, #name); \
        if (no_locks && (command == F_SETLK || command == F_SETLKW)) { \
            errno = ENOLCK;                                 \
            return -1;                                      \
        }                                                   \
        return real(handle, command, argument);             \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

int clock_gettime(clockid_t clock, struct timespec *now) {
    static double gone;
    int result = REAL(clock_gettime)(clock, now);
    if (back && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        gone += back;
        now->tv_sec -= (time_t)gone;
    }
    return result;
}
