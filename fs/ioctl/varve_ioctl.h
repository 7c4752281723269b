/*
 * What a program can ask of a mounted Varve file system by ioctl(2).
 *
 * For C (of 1999 and later) and C++. Each call works on a
 * descriptor of any file or directory of the mount, however it was opened (but
 * not with O_PATH). Numbers and structs are the same for 32-bit and 64-bit
 * programs: there are no pointers in them and no implicit padding.
 *
 *   call                        who              what
 *   VARVE_IOC_START_COMPACTION  owner and root   win back the space of the dead
 *   VARVE_IOC_RECLAIM           owner and root   the same, by punching holes
 *   VARVE_IOC_CANCEL            owner and root   end a running compaction
 *   VARVE_IOC_GET_PROGRESS      everybody        how far it is, or how it ended
 *   VARVE_IOC_GET_STATISTICS    everybody        what the store consists of
 *   VARVE_IOC_SYNC              everybody        make durable what is committed
 *
 * The owner is the user whom the mount's daemon runs as: who mounted it.
 * "Everybody" is who can open a file or directory of the mount, which other
 * users cannot without the mount option allow_other.
 *
 * Each call returns 0, or -1 with errno:
 *
 *   ENOTTY  the file lies in no mount of Varve's, or its daemon is of a version
 *           that does not know the call
 *   EINVAL  an option that this version does not know, or an invalid one
 *   EPERM   the caller is neither the owner nor root
 *   EROFS   the mount is read-only, or has become so after a failed sync
 *   ENOSPC  (start) the disk has less free than the compaction needs; see
 *           varve_statistics
 *   EOPNOTSUPP (start by punching, reclaim) the file system that holds the
 *           store cannot punch holes
 *   EIO     the store is damaged, or its disk fails
 *   ENOTCONN, ECONNABORTED  the mount's daemon is gone
 *   EFAULT  the struct is not in the caller's memory
 *
 * Those of a compaction that are found out later are in its progress instead.
 *
 * Compatibility: number and size of a struct never change. What is reserved is
 * written as 0 by both sides until it gets a meaning, and then 0 means what it
 * meant before. `version` tells a reader which fields the daemon filled in. A
 * struct that is outgrown gets a new call, and the old one stays.
 */

#ifndef VARVE_FS_IOCTL_VARVE_IOCTL_H_
#define VARVE_FS_IOCTL_VARVE_IOCTL_H_

#include <linux/ioctl.h>
#include <stdint.h>

/* The version of what is described here. */
#define VARVE_IOCTL_VERSION 1

/*
 * The letter is video4linux's, too, whose numbers end below 0x80 and go on at
 * 0xc0.
 */
#define VARVE_IOCTL_MAGIC 'V'

/* Bits of varve_compaction_start.flags. */

/*
 * Give the blocks of dead payloads back to the host, where they lie, instead of
 * copying what is live: wins less, but needs no free space and little time.
 */
#define VARVE_COMPACT_PUNCH 0x1u

/* For VARVE_IOC_START_COMPACTION. 64 bytes. */
struct varve_compaction_start {
  /* in: VARVE_IOCTL_VERSION, or 0 for 1. EINVAL if newer than the daemon's. */
  uint32_t version;
  /* in: VARVE_COMPACT_*. EINVAL for bits that the daemon does not know. */
  uint32_t flags;
  /* in: bytes to copy in a second, at most; 0 is as fast as it goes. */
  uint64_t bytes_per_second;
  /*
   * out: 1 if there was one running already, which goes on with the options it
   * has; 0 if this call started one. Of two calls at the very same time both
   * may be told 0.
   */
  uint32_t joined;
  uint32_t reserved32;  /* in: 0 */
  uint64_t reserved[5]; /* in: 0, else EINVAL */
};

/* varve_compaction_progress.phase */
#define VARVE_PHASE_NONE 0u        /* none since the mount began */
#define VARVE_PHASE_COPYING 1u     /* live files are being copied */
#define VARVE_PHASE_CATCHING_UP 2u /* what was written meanwhile, too */
#define VARVE_PHASE_SWITCHING 3u   /* the new file takes the store's place */
#define VARVE_PHASE_PUNCHING 4u    /* dead payloads are being given back */
#define VARVE_PHASE_ENDED 5u       /* see result */

/* varve_compaction_progress.kind */
#define VARVE_KIND_COPY 0u
#define VARVE_KIND_PUNCH 1u

/* varve_compaction_progress.eta_ms where nothing can be said yet. */
#define VARVE_ETA_UNKNOWN (~(uint64_t)0)

/* varve_statistics.available_bytes where the store's disk does not tell. */
#define VARVE_SPACE_UNKNOWN (~(uint64_t)0)

/* Room for varve_compaction_progress.message, with its NUL. */
#define VARVE_MESSAGE_SIZE 256

/*
 * For VARVE_IOC_GET_PROGRESS: of the compaction that runs, or else ran last,
 * whoever started it (the daemon does so by itself, see `-o compact`). 384
 * bytes, all of them out.
 */
struct varve_compaction_progress {
  uint32_t version; /* VARVE_IOCTL_VERSION of the daemon */
  uint32_t phase;   /* VARVE_PHASE_* */
  uint32_t kind;    /* VARVE_KIND_* */
  /*
   * How it went, once phase is VARVE_PHASE_ENDED: 0, or an errno. ECANCELED:
   * cancelled, or the mount was ended; ENOSPC: too little space. Whatever it
   * is, files and directories are as they were.
   */
  uint32_t result;
  uint64_t bytes_done;  /* bytes of the store */
  uint64_t bytes_total; /* an estimate until all is copied */
  uint64_t files_done;
  uint64_t files_total;
  uint64_t bytes_reclaimed; /* bytes on the disk; known when it has ended */
  uint64_t elapsed_ms;      /* milliseconds since its start; until its end */
  /*
   * Milliseconds that it will still take, or VARVE_ETA_UNKNOWN. 0 if none runs,
   * or it is in its last step.
   */
  uint64_t eta_ms;
  /* Microseconds for which nothing else could go on, at the longest. */
  uint64_t longest_stall_us;
  uint64_t reserved[6]; /* 0 */
  /* Why result is not 0, in words, ending with a NUL; may be empty. */
  char message[VARVE_MESSAGE_SIZE];
};

/* For VARVE_IOC_GET_STATISTICS. 192 bytes, all of them out. */
struct varve_statistics {
  uint32_t version;         /* VARVE_IOCTL_VERSION of the daemon */
  uint32_t reserved32;      /* 0 */
  uint64_t total_bytes;     /* length of the store */
  uint64_t allocated_bytes; /* of it, what its host has blocks for */
  uint64_t live_bytes;      /* what a compacted store would have */
  uint64_t dead_bytes;      /* the rest of what is allocated */
  uint64_t entries;         /* live ones, of all kinds */
  uint64_t files;           /* inodes of all types */
  uint64_t commits;         /* since the store was made */
  uint64_t extents;         /* of files in pieces */
  /* Bytes that have to be free on the disk for a compaction that copies. */
  uint64_t peak_extra_bytes;
  /* Bytes that are free there, for the daemon, or VARVE_SPACE_UNKNOWN. */
  uint64_t available_bytes;
  uint64_t reserved[13]; /* 0 */
};

/*
 * Starts a compaction, in the background, and returns at once; the mount stays
 * in use. One at a time: see `joined`.
 */
#define VARVE_IOC_START_COMPACTION \
  _IOWR(VARVE_IOCTL_MAGIC, 0x80, struct varve_compaction_start)

/* Never waits for the compaction; may be asked as often as one likes. */
#define VARVE_IOC_GET_PROGRESS \
  _IOR(VARVE_IOCTL_MAGIC, 0x81, struct varve_compaction_progress)

/*
 * Makes a running compaction end soon; the store stays as it was, but for what
 * punching has given back. Does not wait for the end: phase tells of it. 0 also
 * if none runs.
 */
#define VARVE_IOC_CANCEL _IO(VARVE_IOCTL_MAGIC, 0x82)

/* Goes through the whole tree: not for every second. */
#define VARVE_IOC_GET_STATISTICS \
  _IOR(VARVE_IOCTL_MAGIC, 0x83, struct varve_statistics)

/*
 * Returns when everything that had been committed is durable: names,
 * attributes, and contents that have been closed or synced. What is written to
 * files that are still open is not committed yet (fsync(2) does that, for one
 * file; syncfs(2) for what the kernel holds).
 */
#define VARVE_IOC_SYNC _IO(VARVE_IOCTL_MAGIC, 0x84)

/* VARVE_IOC_START_COMPACTION with VARVE_COMPACT_PUNCH and nothing else. */
#define VARVE_IOC_RECLAIM _IO(VARVE_IOCTL_MAGIC, 0x85)

#endif  // VARVE_FS_IOCTL_VARVE_IOCTL_H_
