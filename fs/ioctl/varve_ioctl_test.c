/*
 * fs/ioctl/varve_ioctl.h as a C program uses it: it compiles by itself, and
 * structs and numbers are what programs that were built before have been told.
 */

#include "fs/ioctl/varve_ioctl.h"

#include <stddef.h>
#include <stdio.h>

static int failures = 0;

static void Expect(const char* what, unsigned long actual,
                   unsigned long expected) {
  if (actual == expected) return;
  fprintf(stderr, "%s: 0x%lx instead of 0x%lx\n", what, actual, expected);
  ++failures;
}

#define EXPECT(what, expected) Expect(#what, (unsigned long)(what), (expected))
#define EXPECT_OFFSET(type, field, expected) \
  Expect(#type "." #field, offsetof(struct type, field), (expected))

static void ExpectLayout(void) {
  EXPECT(sizeof(struct varve_compaction_start), 64);
  EXPECT_OFFSET(varve_compaction_start, flags, 4);
  EXPECT_OFFSET(varve_compaction_start, bytes_per_second, 8);
  EXPECT_OFFSET(varve_compaction_start, joined, 16);
  EXPECT_OFFSET(varve_compaction_start, reserved, 24);
  EXPECT(sizeof(struct varve_compaction_progress), 384);
  EXPECT_OFFSET(varve_compaction_progress, phase, 4);
  EXPECT_OFFSET(varve_compaction_progress, kind, 8);
  EXPECT_OFFSET(varve_compaction_progress, result, 12);
  EXPECT_OFFSET(varve_compaction_progress, bytes_done, 16);
  EXPECT_OFFSET(varve_compaction_progress, bytes_total, 24);
  EXPECT_OFFSET(varve_compaction_progress, files_done, 32);
  EXPECT_OFFSET(varve_compaction_progress, files_total, 40);
  EXPECT_OFFSET(varve_compaction_progress, bytes_reclaimed, 48);
  EXPECT_OFFSET(varve_compaction_progress, elapsed_ms, 56);
  EXPECT_OFFSET(varve_compaction_progress, eta_ms, 64);
  EXPECT_OFFSET(varve_compaction_progress, longest_stall_us, 72);
  EXPECT_OFFSET(varve_compaction_progress, message, 128);
  EXPECT(sizeof(struct varve_statistics), 192);
  EXPECT_OFFSET(varve_statistics, total_bytes, 8);
  EXPECT_OFFSET(varve_statistics, allocated_bytes, 16);
  EXPECT_OFFSET(varve_statistics, live_bytes, 24);
  EXPECT_OFFSET(varve_statistics, dead_bytes, 32);
  EXPECT_OFFSET(varve_statistics, files, 40);
  EXPECT_OFFSET(varve_statistics, commits, 48);
  EXPECT_OFFSET(varve_statistics, extents, 56);
  EXPECT_OFFSET(varve_statistics, peak_extra_bytes, 64);
  EXPECT_OFFSET(varve_statistics, available_bytes, 72);
}

static void ExpectNumbers(void) {
  EXPECT(VARVE_IOC_START_COMPACTION, 0xc0405680);
  EXPECT(VARVE_IOC_GET_PROGRESS, 0x81805681);
  EXPECT(VARVE_IOC_CANCEL, 0x5682);
  EXPECT(VARVE_IOC_GET_STATISTICS, 0x80c05683);
  EXPECT(VARVE_IOC_SYNC, 0x5684);
  EXPECT(VARVE_IOC_RECLAIM, 0x5685);
}

int main(void) {
  ExpectLayout();
  ExpectNumbers();
  return failures == 0 ? 0 : 1;
}
