/* Makes calls of libc fail for files in one folder, as a shared control file says.

   LD_PRELOAD this with FAULTS_CONTROL (a file of 16 bytes: kind, per thousand, how many so far)
   and FAULTS_FOLDER. Kinds: 0 none, 1 EIO of writes, 2 EIO of fsync, 3 EIO of reads, 4 ENOSPC,
   5 short writes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { NONE, WRITE_EIO, SYNC_EIO, READ_EIO, NO_SPACE, SHORT_WRITE };
struct control { volatile uint32_t kind, per_thousand; volatile uint64_t count; };
static struct control *control;
static const char *folder;
static __thread unsigned seed;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTS_CONTROL");
    folder = getenv("FAULTS_FOLDER");
    int fd = path && folder ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *found = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (found != MAP_FAILED) control = found;
}

static int is_inside(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size <= 0) return 0;
    path[size] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}

/* Tells whether this call is to fail; errno says how. */
static int fails(int fd, int kind, int number) {
    if (!control || control->kind != (uint32_t)kind) return 0;
    int before = errno;
    if (!seed) seed = (unsigned)(getpid() ^ (uintptr_t)&seed);
    int hit = (uint32_t)(rand_r(&seed) % 1000) < control->per_thousand && is_inside(fd);
    errno = hit ? number : before;
    if (hit) __sync_fetch_and_add(&control->count, 1);
    return hit;
}

static size_t shortened(int fd, size_t size) {
    return size > 1 && fails(fd, SHORT_WRITE, errno) ? size / 2 : size;
}

#define WRITE_FAILS(fd) (fails(fd, WRITE_EIO, EIO) || fails(fd, NO_SPACE, ENOSPC))

ssize_t write(int fd, const void *data, size_t size) {
    if (WRITE_FAILS(fd)) return -1;
    return syscall(SYS_write, fd, data, shortened(fd, size));
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    if (WRITE_FAILS(fd)) return -1;
    return syscall(SYS_pwrite64, fd, data, shortened(fd, size), at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return pwrite64(fd, data, size, at);
}

ssize_t read(int fd, void *data, size_t size) {
    return fails(fd, READ_EIO, EIO) ? -1 : syscall(SYS_read, fd, data, size);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    return fails(fd, READ_EIO, EIO) ? -1 : syscall(SYS_pread64, fd, data, size, at);
}

ssize_t pread(int fd, void *data, size_t size, off_t at) { return pread64(fd, data, size, at); }

int fsync(int fd) { return fails(fd, SYNC_EIO, EIO) ? -1 : (int)syscall(SYS_fsync, fd); }

int fdatasync(int fd) { return fails(fd, SYNC_EIO, EIO) ? -1 : (int)syscall(SYS_fdatasync, fd); }

int ftruncate64(int fd, off64_t size) {
    return WRITE_FAILS(fd) ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }
