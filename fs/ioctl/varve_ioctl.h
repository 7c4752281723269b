/*
 * What a program can ask of a mounted Varve file system by ioctl(2).
 *
 * For C (C99 and later) and C++. Each call works on a descriptor of any file or
 * directory of the mount, however it was opened (except with O_PATH). Numbers
 * and structs are the same for 32-bit and 64-bit programs: there are no
 * pointers in them and no implicit padding.
 *
 *   call                        who              what
 *   VARVE_IOC_START_COMPACTION  owner and root   reclaim the space of dead data
 *   VARVE_IOC_RECLAIM           owner and root   the same, by punching holes
 *   VARVE_IOC_CANCEL            owner and root   end a running compaction
 *   VARVE_IOC_GET_PROGRESS      everybody        how far it is, or how it ended
 *   VARVE_IOC_GET_STATISTICS    everybody        what the store consists of
 *   VARVE_IOC_SYNC              everybody        make all commits durable
 *
 * The owner is the user who mounted the file system: the mount's daemon runs as
 * that user. "Everybody" means every process that can open a file or directory
 * of the mount, which other users cannot without the mount option allow_other.
 *
 * Each call returns 0, or -1 with errno:
 *
 *   ENOTTY  the file is not in a Varve mount, or the version of its daemon does
 *           not know the call
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
 * Errors that a compaction meets after it has started are in its progress.
 *
 * Compatibility: number and size of a struct never change. Both sides write 0
 * to reserved fields. If a reserved field gets a meaning, 0 will mean the old
 * behaviour. `version` tells a reader which fields the daemon filled in. A
 * struct that becomes too small gets a new call, and the old call stays.
 */

#ifndef VARVE_FS_IOCTL_VARVE_IOCTL_H_
#define VARVE_FS_IOCTL_VARVE_IOCTL_H_

#include <linux/ioctl.h>
#include <stdint.h>

/* The version of the interface that this header describes. */
#define VARVE_IOCTL_VERSION 1

/*
 * video4linux has the same letter, but no numbers from 0x80 to 0xbf.
 */
#define VARVE_IOCTL_MAGIC 'V'

/* Bits of varve_compaction_start.flags. */

/*
 * Return the blocks of dead payloads to the host in place, instead of copying
 * live data. Reclaims less, but needs no free space and little time.
 */
#define VARVE_COMPACT_PUNCH 0x1u

/* Keep no past moments but snapshots, whatever the store's policy says. */
#define VARVE_COMPACT_FORGET 0x2u

/* For VARVE_IOC_START_COMPACTION. 64 bytes. */
struct varve_compaction_start {
  /* in: VARVE_IOCTL_VERSION, or 0 for 1. EINVAL if newer than the daemon's. */
  uint32_t version;
  /* in: VARVE_COMPACT_*. EINVAL for bits that the daemon does not know. */
  uint32_t flags;
  /* in: bytes to copy per second, at most; 0 means as fast as possible. */
  uint64_t bytes_per_second;
  /*
   * out: 1 if a compaction was running already, which continues with its own
   * options; 0 if this call started one. Two calls at the very same time may
   * both get 0.
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

/* varve_compaction_progress.eta_ms while there is no estimate yet. */
#define VARVE_ETA_UNKNOWN (~(uint64_t)0)

/* varve_statistics.available_bytes if the store's disk does not report it. */
#define VARVE_SPACE_UNKNOWN (~(uint64_t)0)

/* Room for varve_compaction_progress.message, with its NUL. */
#define VARVE_MESSAGE_SIZE 256

/*
 * For VARVE_IOC_GET_PROGRESS: describes the running compaction or, if none
 * runs, the last one. It may have been started by any program or by the daemon
 * itself (see `-o compact`). 384 bytes, all of them out.
 */
struct varve_compaction_progress {
  uint32_t version; /* VARVE_IOCTL_VERSION of the daemon */
  uint32_t phase;   /* VARVE_PHASE_* */
  uint32_t kind;    /* VARVE_KIND_* */
  /*
   * The result, once phase is VARVE_PHASE_ENDED: 0 or an errno. ECANCELED: it
   * was cancelled, or the mount ended; ENOSPC: there was too little space. In
   * any case files and directories are as they were.
   */
  uint32_t result;
  uint64_t bytes_done;  /* bytes of the store */
  uint64_t bytes_total; /* an estimate until all is copied */
  uint64_t files_done;
  uint64_t files_total;
  uint64_t bytes_reclaimed; /* bytes on the disk; known once it has ended */
  uint64_t elapsed_ms;      /* milliseconds from its start to now or its end */
  /*
   * Milliseconds that it will still take, or VARVE_ETA_UNKNOWN. 0 if none runs
   * or if it is in its last step.
   */
  uint64_t eta_ms;
  /* The longest time, in microseconds, for which it held up everything else. */
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
  uint64_t allocated_bytes; /* blocks that the host has allocated for it */
  uint64_t live_bytes;      /* length that a compacted store would have */
  uint64_t dead_bytes;      /* the rest of allocated_bytes */
  uint64_t files;           /* inodes of all types */
  uint64_t commits;         /* since the store was made */
  uint64_t extents;         /* of files in pieces */
  /* Bytes that must be free on the disk for a compaction that copies. */
  uint64_t peak_extra_bytes;
  /* Bytes that are free there, for the daemon, or VARVE_SPACE_UNKNOWN. */
  uint64_t available_bytes;
  uint64_t reserved[14]; /* 0 */
};

/* varve_history.operation */
#define VARVE_HISTORY_CREATE 1u  /* a snapshot `name` of the moment `at` */
#define VARVE_HISTORY_DELETE 2u  /* the snapshot `name` */
#define VARVE_HISTORY_RENAME 3u  /* the snapshot `name` to `to` */
#define VARVE_HISTORY_HOLD 4u    /* keep `name` from being deleted */
#define VARVE_HISTORY_RELEASE 5u /* or no longer */
#define VARVE_HISTORY_POLICY 6u  /* set the policy to `name` */
#define VARVE_HISTORY_RESTORE 7u /* make `to` what `from` was at `at` */
#define VARVE_HISTORY_PURGE 8u   /* take `from` out of all past moments */

/* varve_history.flags, for VARVE_HISTORY_RESTORE */
#define VARVE_RESTORE_DELETE 0x1u  /* remove what was not there then */
#define VARVE_RESTORE_DRY_RUN 0x2u /* only count */

/*
 * For VARVE_IOC_HISTORY. 9216 bytes. Texts end with a NUL. Paths are relative
 * to the root of the mount. Moments are named as `varve help log` says; "now"
 * is the newest.
 */
struct varve_history {
  uint32_t version;   /* in: VARVE_IOCTL_VERSION, or 0 for 1 */
  uint32_t operation; /* in: VARVE_HISTORY_* */
  uint32_t flags;     /* in: EINVAL for bits that the daemon does not know */
  /* out: 0 or the errno with which it failed; the call itself succeeds. */
  uint32_t result;
  /* out: of a restored tree, files and directories that were made, replaced,
     left alone, and removed; and bytes of content that are there again. Of a
     purge, `replaced` is the number of snapshots that have had the path. */
  uint64_t made;
  uint64_t replaced;
  uint64_t unchanged;
  uint64_t removed;
  uint64_t bytes;
  uint64_t reserved[25]; /* in: 0 */
  char name[256];        /* in */
  char at[256];          /* in */
  char from[4096];       /* in */
  char to[4096];         /* in */
  char message[256];     /* out: why result is not 0; may be empty */
};

/*
 * Starts a compaction in the background and returns at once. The mount stays in
 * use. Only one compaction runs at a time: see `joined`.
 */
#define VARVE_IOC_START_COMPACTION \
  _IOWR(VARVE_IOCTL_MAGIC, 0x80, struct varve_compaction_start)

/* Never waits for the compaction, so it may be called often. */
#define VARVE_IOC_GET_PROGRESS \
  _IOR(VARVE_IOCTL_MAGIC, 0x81, struct varve_compaction_progress)

/*
 * Makes a running compaction end soon. The store stays as it was, except for
 * blocks that punching has returned already. Does not wait for the end, which
 * shows in phase. Returns 0 also if no compaction runs.
 */
#define VARVE_IOC_CANCEL _IO(VARVE_IOCTL_MAGIC, 0x82)

/* Walks through the whole tree, so it should not be called every second. */
#define VARVE_IOC_GET_STATISTICS \
  _IOR(VARVE_IOCTL_MAGIC, 0x83, struct varve_statistics)

/*
 * Returns when everything that had been committed is durable: names,
 * attributes, and contents that have been closed or synced. Bytes written to a
 * file that is still open are not committed yet; fsync(2) commits them.
 */
#define VARVE_IOC_SYNC _IO(VARVE_IOCTL_MAGIC, 0x84)

/* Changes what is kept of the past, or brings it back. Root and the owner. */
#define VARVE_IOC_HISTORY _IOWR(VARVE_IOCTL_MAGIC, 0x86, struct varve_history)

/* VARVE_IOC_START_COMPACTION with VARVE_COMPACT_PUNCH and nothing else. */
#define VARVE_IOC_RECLAIM _IO(VARVE_IOCTL_MAGIC, 0x85)

#endif  // VARVE_FS_IOCTL_VARVE_IOCTL_H_
