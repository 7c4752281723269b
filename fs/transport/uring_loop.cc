#include "fs/transport/uring_loop.h"

#include <errno.h>
#include <linux/fuse.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "engine/base/start_thread.h"
#include "engine/base/status.h"

namespace varve::fs {
namespace {

// A READ of that size is served on another processor.
constexpr uint32_t kLargeRead = 128 << 10;

// The entry of the request that this thread is serving.
thread_local UringEntry* current_entry = nullptr;

// The number of processors that there can ever be, including those that may be
// plugged in later. The kernel has as many queues, and sends no request before
// it has an entry for each of them.
int PossibleProcessors() {
  // "0-63", or in pieces, "0,2-5".
  std::ifstream file("/sys/devices/system/cpu/possible");
  std::string text;
  std::getline(file, text);
  int last = 0;
  const size_t at = text.find_last_of(",-");
  if (!absl::SimpleAtoi(
          absl::string_view(text).substr(at == text.npos ? 0 : at + 1),
          &last)) {
    last = 0;
  }
  return std::max(last + 1, get_nprocs_conf());
}

// Restricts where the calling thread may run: on one processor, or on any other
// one. Does nothing if the system does not allow it or has just one processor.
class ProcessorPin {
 public:
  explicit ProcessorPin(int processor) {
    CPU_ZERO(&home_);
    CPU_ZERO(&away_);
    if (sched_getaffinity(0, sizeof(away_), &away_) != 0 ||
        !CPU_ISSET(processor, &away_)) {
      CPU_ZERO(&away_);
      return;
    }
    CPU_SET(processor, &home_);
    CPU_CLR(processor, &away_);
    Set(home_);
  }

  void GoHome() { Move(false); }
  void GoAway() { Move(true); }

 private:
  void Move(bool away) {
    if (away == is_away_ || CPU_COUNT(&away_) == 0) return;
    is_away_ = away;
    Set(away ? away_ : home_);
  }
  // Fails if that processor is not in use at the moment. The thread then stays
  // where it is.
  static void Set(const cpu_set_t& set) {
    sched_setaffinity(0, sizeof(set), &set);
  }

  cpu_set_t home_;
  cpu_set_t away_;
  bool is_away_ = false;
};

}  // namespace

UringLoop::UringLoop(Options options)
    : options_(std::move(options)),
      end_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

absl::StatusOr<std::unique_ptr<UringLoop>> UringLoop::Make(Options options) {
  auto loop = std::unique_ptr<UringLoop>(new UringLoop(std::move(options)));
  if (loop->end_fd_ < 0) return SystemError(errno, "eventfd");
  const int processors = PossibleProcessors();
  const int count = processors * loop->options_.threads_per_processor;
  loop->threads_.resize(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    if (!StartThread(
            loop->threads_[static_cast<size_t>(i)],
            [&loop = *loop, i, processors] { loop.Work(i % processors); })) {
      return SystemError(EAGAIN, "no threads for io_uring");
    }
  }
  const auto all_prepared =
      [&loop = *loop, count]()
          ABSL_NO_THREAD_SAFETY_ANALYSIS { return loop.prepared_ == count; };
  absl::Status status;
  {
    absl::MutexLock lock(&loop->mu_);
    loop->mu_.Await(absl::Condition(&all_prepared));
    status = loop->status_;
  }
  if (!status.ok()) return status;
  return loop;
}

UringLoop::~UringLoop() {
  {
    absl::MutexLock lock(&mu_);
    ended_ = true;
  }
  const uint64_t one = 1;
  // Fails only if the counter is at its maximum, and then the descriptor is
  // readable.
  [[maybe_unused]] const ssize_t written = write(end_fd_, &one, sizeof(one));
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  if (end_fd_ >= 0) close(end_fd_);
}

void UringLoop::Start() {
  absl::MutexLock lock(&mu_);
  started_ = true;
}

bool UringLoop::AwaitStart(const absl::Status& status) {
  const auto begins_or_ends = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return started_ || ended_;
  };
  absl::MutexLock lock(&mu_);
  ++prepared_;
  status_.Update(status);
  mu_.Await(absl::Condition(&begins_or_ends));
  return started_ && !ended_;
}

void UringLoop::Work(int processor) {
  auto entry = UringEntry::Make({.fuse_fd = options_.fuse_fd,
                                 .end_fd = end_fd_,
                                 .queue = processor,
                                 .max_payload = options_.max_payload});
  if (AwaitStart(entry.status())) ServeAll(**entry, processor);
}

void UringLoop::ServeAll(UringEntry& entry, int processor) {
  ProcessorPin place(processor);
  absl::StatusOr<bool> next = entry.Next();
  for (; next.ok() && *next; next = entry.Next()) {
    if (entry.read_size() >= kLargeRead) {
      place.GoAway();
    } else {
      place.GoHome();
    }
    current_entry = &entry;
    options_.serve(entry.request());
    current_entry = nullptr;
  }
  if (!next.ok()) options_.on_failure(next.status());
}

std::optional<ssize_t> UringLoop::Answer(
    absl::Span<const struct iovec> pieces) {
  fuse_out_header header;
  if (current_entry == nullptr || pieces.empty() ||
      pieces[0].iov_len < sizeof(header)) {
    return std::nullopt;
  }
  std::memcpy(&header, pieces[0].iov_base, sizeof(header));
  if (!current_entry->Awaits(header.unique)) return std::nullopt;
  return current_entry->Answer(pieces);
}

}  // namespace varve::fs
