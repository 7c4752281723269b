#include "fs/fuse/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "engine/base/descriptor.h"
#include "engine/base/status.h"
#include "fs/fuse/channel.h"
#include "fs/fuse/context.h"
#include "fs/fuse/metrics.h"
#include "fs/fuse/monitor.h"
#include "fs/fuse/operations.h"
#include "fs/fuse/rings.h"
#include "fs/fuse/serve_request.h"
#include "fs/transport/request_loop.h"

namespace varve::fs {
namespace {

void Signal(const Descriptor& event) {
  const uint64_t one = 1;
  // Fails only if the counter is at its maximum, and then it is signalled
  // already.
  [[maybe_unused]] const ssize_t written =
      write(event.get(), &one, sizeof(one));
}

int ThreadCount(int asked_for) {
  if (asked_for > 0) return asked_for;
  const int processors = static_cast<int>(std::thread::hardware_concurrency());
  return std::clamp(2 * processors, 4, 16);
}

// The options for the kernel and libfuse, in the form of /proc/mounts. Commas
// in the name of the store are escaped, as they would end the option.
std::string JoinOptions(const FuseOptions& options) {
  std::string source;
  for (const char c : options.source) {
    if (c == ',' || c == '\\') source += '\\';
    source += c;
  }
  std::string joined =
      absl::StrCat("default_permissions,subtype=varve,fsname=", source);
  for (const std::string& option : options.mount_options) {
    absl::StrAppend(&joined, ",", option);
  }
  if (options.max_read > 0) {
    absl::StrAppend(&joined, ",max_read=", options.max_read);
  }
  return joined;
}

// The device number of the file system mounted at `directory`; nothing if it
// cannot be found out. Asks only the kernel and never a daemon.
std::optional<dev_t> DeviceAt(const std::string& directory) {
  struct statx info = {};
  const int flags = AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW;
  if (statx(AT_FDCWD, directory.c_str(), flags, 0, &info) != 0) {
    return std::nullopt;
  }
  return makedev(info.stx_dev_major, info.stx_dev_minor);
}

RequestLoop::Options LoopOptions(const FuseOptions& options) {
  RequestLoop::Options result{.threads = ThreadCount(options.threads)};
  // With a single processor, polling would keep the caller from running.
  if (std::thread::hardware_concurrency() > 1) result.poll = options.poll;
  return result;
}

// Whether requests come from several threads or processes. A single caller that
// waits for a slow answer is better off if no other thread is woken.
class Callers {
 public:
  void Note(uint32_t thread) {
    if (thread == 0) return;  // the kernel itself
    if (last_.exchange(thread, std::memory_order_relaxed) != thread) {
      in_a_row_.store(0, std::memory_order_relaxed);
    } else {
      in_a_row_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  bool AreSeveral() const {
    return in_a_row_.load(std::memory_order_relaxed) < kAlone;
  }

 private:
  // A caller that has made so many requests while no other made any is alone.
  static constexpr uint32_t kAlone = 32;

  std::atomic<uint32_t> last_{0};
  std::atomic<uint32_t> in_a_row_{0};
};

class RequestWorker final : public RequestLoop::Worker {
 public:
  RequestWorker(FuseContext& context, Callers& callers)
      : context_(context), callers_(callers) {}
  ~RequestWorker() override { std::free(buffer_.mem); }
  RequestWorker(const RequestWorker&) = delete;
  RequestWorker& operator=(const RequestWorker&) = delete;

  RequestLoop::Received Receive() override {
    using Received = RequestLoop::Received;
    struct fuse_session* const session = context_.session;
    if (fuse_session_exited(session)) return Received::kEnd;
    const int received = fuse_session_receive_buf(session, &buffer_);
    if (received == -EAGAIN || received == -EINTR) return Received::kNothing;
    if (received <= 0) return Received::kEnd;
    callers_.Note(CallingThread());
    return Received::kRequest;
  }

  bool IsSlow() const override {
    return MayTakeLong(RequestOpcode()) && callers_.AreSeveral();
  }

  void Serve() override { ServeRequest(context_, buffer_); }

 private:
  FuseContext& context_;
  Callers& callers_;
  struct fuse_buf buffer_ = {};
};

// Makes the kernel drop what it has cached. That waits for pages that are being
// read and for directories that are being changed, and so for answers to
// requests. Therefore it happens in a thread that serves no requests.
class Forgetter {
 public:
  using Job = std::function<void()>;

  Forgetter() : thread_([this] { Run(); }) {}
  // Leaves out jobs that have not begun yet.
  ~Forgetter() {
    {
      absl::MutexLock lock(&mu_);
      stop_ = true;
    }
    thread_.join();
  }
  Forgetter(const Forgetter&) = delete;
  Forgetter& operator=(const Forgetter&) = delete;

  void Add(Job job) {
    absl::MutexLock lock(&mu_);
    jobs_.push_back(std::move(job));
    ++added_;
  }

  // Waits until all jobs that have been added are done, but for no longer than
  // `limit`: the request that waits may be what a job waits for.
  void WaitForAll(absl::Duration limit) {
    absl::MutexLock lock(&mu_);
    const uint64_t goal = added_;
    const auto reached = [this, goal] {
      mu_.AssertReaderHeld();
      return stop_ || done_ >= goal;
    };
    mu_.AwaitWithTimeout(absl::Condition(&reached), limit);
  }

 private:
  void Run() {
    const auto woken = [this] {
      mu_.AssertReaderHeld();
      return stop_ || !jobs_.empty();
    };
    absl::MutexLock lock(&mu_);
    while (true) {
      mu_.Await(absl::Condition(&woken));
      if (stop_) return;
      const Job job = std::move(jobs_.front());
      jobs_.pop_front();
      mu_.Unlock();
      job();
      mu_.Lock();
      ++done_;
    }
  }

  absl::Mutex mu_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mu_);
  uint64_t added_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t done_ ABSL_GUARDED_BY(mu_) = 0;
  std::thread thread_;
};

}  // namespace

class FuseServer::Impl {
 public:
  Impl(Volume& volume, FuseOptions options)
      : options_(std::move(options)),
        context_(volume, options_.status_members),
        stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        monitor_(context_),
        rings_(context_, options_.io_uring, options_.threads,
               [this] { Stop(); }) {
    context_.max_read = options_.max_read;
    context_.log_processes = options_.log_processes;
    context_.log = options_.on_error;
    context_.rings = &rings_;
    context_.files = options_.files;
    context_.version = options_.version;
    context_.started_seconds = absl::ToUnixSeconds(absl::Now());
    context_.control.AddFile(
        {.name = "metrics", .make = [this] { return MetricsOf(context_); }});
    context_.control.AddFile({.name = "trace",
                              .is_private = true,
                              .make = [this] { return monitor_.TraceText(); }});
  }

  ~Impl() {
    if (session_ == nullptr) return;
    StopForgetting();
    Unmount();
    fuse_session_destroy(session_);
  }

  absl::Status Mount();
  absl::Status Serve(std::function<void()> on_ready);
  void Stop() { Signal(stop_); }

 private:
  bool IsAtMountpoint() const;
  void UnmountWhileServing();
  // Only once, and only our own mount.
  void Unmount();
  void BeginForgetting();
  void StopForgetting() {
    context_.volume.set_on_stale(nullptr);
    context_.volume.set_on_names_stale(nullptr);
    forgetter_.reset();
  }

  const FuseOptions options_;
  FuseContext context_;
  struct fuse_session* session_ = nullptr;
  bool mounted_ = false;
  // The device number of our file system. No other file system gets it while
  // ours is in use anywhere. (The id of a mount may be reused as soon as the
  // mount has been detached here.)
  std::optional<dev_t> device_;
  const Descriptor stop_;  // signalled by Stop()
  Monitor monitor_;
  FuseRings rings_;
  std::unique_ptr<Forgetter> forgetter_;
};

absl::Status FuseServer::Impl::Mount() {
  struct fuse_args args = FUSE_ARGS_INIT(0, nullptr);
  const std::string joined = JoinOptions(options_);
  bool ok = fuse_opt_add_arg(&args, "varve") == 0 &&
            fuse_opt_add_arg(&args, "-o") == 0 &&
            fuse_opt_add_arg(&args, joined.c_str()) == 0;
  if (options_.debug) ok = ok && fuse_opt_add_arg(&args, "-d") == 0;
  if (ok) {
    const struct fuse_lowlevel_ops& operations = FuseOperations();
    session_ =
        fuse_session_new(&args, &operations, sizeof(operations), &context_);
  }
  fuse_opt_free_args(&args);
  context_.session = session_;
  if (session_ == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("a mount option is not known (", joined, ")"));
  }
  if (!options_.metrics_socket.empty()) {
    VARVE_RETURN_IF_ERROR(monitor_.Listen(options_.metrics_socket));
  }
  errno = 0;
  if (fuse_session_mount(session_, options_.mountpoint.c_str()) != 0) {
    return SystemError(errno != 0 ? errno : EIO,
                       absl::StrCat("cannot mount at ", options_.mountpoint));
  }
  mounted_ = true;
  device_ = DeviceAt(options_.mountpoint);
  if (!device_.has_value()) {
    return SystemError(errno,
                       absl::StrCat("cannot look at ", options_.mountpoint));
  }
  BeginForgetting();
  const int fd = fuse_session_fd(session_);
  const struct fuse_custom_io io = FuseChannelIo();
  if (fuse_session_custom_io(session_, &io, fd) != 0 ||
      fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) {
    return SystemError(errno, "cannot set up the FUSE session");
  }
  return absl::OkStatus();
}

// It is no failure if the kernel does not know an inode or a name.
void FuseServer::Impl::BeginForgetting() {
  constexpr absl::Duration kLongestWait = absl::Seconds(2);
  forgetter_ = std::make_unique<Forgetter>();
  const auto forget = [this](uint64_t ino) {
    forgetter_->Add(
        [this, ino] { fuse_lowlevel_notify_inval_inode(session_, ino, 0, 0); });
  };
  context_.volume.set_on_stale(forget);
  context_.forget_listing = forget;
  context_.volume.set_on_names_stale([this](const StaleNames& names) {
    forgetter_->Add([this, names] {
      for (const auto& [directory, name] : names) {
        if (!name.empty()) {
          fuse_lowlevel_notify_inval_entry(session_, directory, name.data(),
                                           name.size());
        }
        fuse_lowlevel_notify_inval_inode(session_, directory, 0, 0);
      }
    });
    forgetter_->WaitForAll(kLongestWait);
  });
}

// Whether the file system mounted there is ours, and not one that was mounted
// there since ours was detached or covered.
bool FuseServer::Impl::IsAtMountpoint() const {
  return !device_.has_value() || DeviceAt(options_.mountpoint) == device_;
}

// Other threads must keep answering requests: unmounting makes the kernel write
// back what it still has cached.
void FuseServer::Impl::UnmountWhileServing() {
  const std::string& at = options_.mountpoint;
  if (!IsAtMountpoint()) return;
  if (umount2(at.c_str(), UMOUNT_NOFOLLOW) == 0) {
    mounted_ = false;
    return;
  }
  // The mount is in use, or we may not unmount it. Have the kernel write
  // everything back at least. Unmount() does the rest once the threads have
  // ended.
  const Descriptor root(open(at.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (root.get() >= 0) syncfs(root.get());
}

// Ends the connection to the kernel and unmounts if the mount is still there.
void FuseServer::Impl::Unmount() {
  // If another mount namespace has a copy of the mount, the connection is
  // alive, and libfuse would unmount once more.
  if (!mounted_) return;
  mounted_ = false;
  if (!IsAtMountpoint()) {
    // libfuse would unmount whatever is mounted there now, unless its
    // descriptor reports that the connection has ended. A pipe without a reader
    // reports the same.
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return;  // leaves libfuse without a mount
    const Descriptor reader(ends[0]);
    const Descriptor writer(ends[1]);
    if (dup3(writer.get(), fuse_session_fd(session_), O_CLOEXEC) < 0) return;
  }
  fuse_session_unmount(session_);
}

absl::Status FuseServer::Impl::Serve(std::function<void()> on_ready) {
  context_.on_ready = std::move(on_ready);
  Callers callers;
  RequestLoop loop(fuse_session_fd(session_), LoopOptions(options_),
                   [this, &callers] {
                     return std::make_unique<RequestWorker>(context_, callers);
                   });
  loop.Start();
  struct pollfd events[] = {{stop_.get(), POLLIN, 0},
                            {loop.end_fd(), POLLIN, 0}};
  while (poll(events, 2, -1) < 0 && errno == EINTR) {
  }
  if (events[0].revents != 0) UnmountWhileServing();
  // While there are still threads that answer.
  StopForgetting();
  loop.End();
  loop.Join();
  rings_.End();
  monitor_.End();
  Unmount();
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<FuseServer>> FuseServer::Mount(
    Volume& volume, FuseOptions options) {
  auto impl = std::make_unique<Impl>(volume, std::move(options));
  VARVE_RETURN_IF_ERROR(impl->Mount());
  return std::unique_ptr<FuseServer>(new FuseServer(std::move(impl)));
}

FuseServer::FuseServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
FuseServer::~FuseServer() = default;

absl::Status FuseServer::Serve(std::function<void()> on_ready) {
  return impl_->Serve(std::move(on_ready));
}

void FuseServer::Stop() { impl_->Stop(); }

}  // namespace varve::fs
