// A library for LD_PRELOAD that makes every sync a lie: it says that all is
// well, and does nothing. A power cut must then lose what was called durable,
// and power_cut_test.py must find it missing. If it does not, it could not find
// anything.

#define _GNU_SOURCE

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

int fsync(int fd) {
  (void)fd;
  return 0;
}

int fdatasync(int fd) {
  (void)fd;
  return 0;
}

int sync_file_range(int fd, off64_t offset, off64_t length,
                    unsigned int flags) {
  (void)fd;
  (void)offset;
  (void)length;
  (void)flags;
  return 0;
}

int syncfs(int fd) {
  (void)fd;
  return 0;
}

int msync(void* address, size_t length, int flags) {
  (void)address;
  (void)length;
  (void)flags;
  return 0;
}
