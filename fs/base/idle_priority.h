// IdlePriority: as long as it lives, what its thread reads and writes waits for
// everybody else's.

#ifndef VARVE_FS_BASE_IDLE_PRIORITY_H_
#define VARVE_FS_BASE_IDLE_PRIORITY_H_

#include <linux/ioprio.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace varve::fs {

class IdlePriority {
 public:
  explicit IdlePriority(bool idle) : idle_(idle) {
    if (idle_) Set(IOPRIO_CLASS_IDLE);
  }
  ~IdlePriority() {
    if (idle_) Set(IOPRIO_CLASS_NONE);  // as the process has it
  }
  IdlePriority(const IdlePriority&) = delete;
  IdlePriority& operator=(const IdlePriority&) = delete;

 private:
  static void Set(int priority_class) {
    // Where the host has no such thing, it does without.
    syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
            IOPRIO_PRIO_VALUE(priority_class, 0));
  }

  const bool idle_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_BASE_IDLE_PRIORITY_H_
