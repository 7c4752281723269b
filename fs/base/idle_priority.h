// IdlePriority: while it lives, the disk I/O of its thread has idle priority
// and so waits for the I/O of all other threads. It must be destroyed by the
// thread that constructed it.

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
    if (idle_) Set(IOPRIO_CLASS_NONE);  // the process's own class
  }
  IdlePriority(const IdlePriority&) = delete;
  IdlePriority& operator=(const IdlePriority&) = delete;

 private:
  static void Set(int priority_class) {
    // Has no effect where the host does not support it.
    syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
            IOPRIO_PRIO_VALUE(priority_class, 0));
  }

  const bool idle_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_BASE_IDLE_PRIORITY_H_
