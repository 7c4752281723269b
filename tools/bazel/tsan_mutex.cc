// Tells the thread sanitizer about the locks of the installed Abseil.
//
// The distribution's Abseil is not built for the sanitizer. The sanitizer would
// therefore see no order between critical sections and report a race for
// everything that an absl::Mutex guards. The definitions here replace those of
// the shared library in the executable, tell the sanitizer, and call the
// originals.
//
// Linked only by --config=tsan. Not covered: Await and CondVar::Wait on a lock
// that is held for reading (they are taken to hold it for writing),
// absl::Barrier, and Notification::HasBeenNotified, which is inline.

#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdio>
#include <cstdlib>

#include "absl/base/config.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace {

constexpr unsigned kWrite = 0;
constexpr unsigned kRead = __tsan_mutex_read_lock;

// Finds the original of a member function by its mangled name.
template <typename Function>
Function* Original(const char* name) {
  void* const symbol = dlsym(RTLD_NEXT, name);
  if (symbol == nullptr) {
    std::fprintf(stderr, "tsan_mutex: no %s: %s\n", name, dlerror());
    std::abort();
  }
  return reinterpret_cast<Function*>(symbol);
}

// Takes `mutex` by calling `take`.
template <typename Function>
void Lock(absl::Mutex* mutex, unsigned flags, const Function& take) {
  __tsan_mutex_pre_lock(mutex, flags);
  take();
  __tsan_mutex_post_lock(mutex, flags, 0);
}

template <typename Function>
bool TryLock(absl::Mutex* mutex, unsigned flags, const Function& take) {
  __tsan_mutex_pre_lock(mutex, flags | __tsan_mutex_try_lock);
  const bool taken = take();
  __tsan_mutex_post_lock(mutex,
                         flags | __tsan_mutex_try_lock |
                             (taken ? 0 : __tsan_mutex_try_lock_failed),
                         0);
  return taken;
}

template <typename Function>
void Unlock(absl::Mutex* mutex, unsigned flags, const Function& release) {
  __tsan_mutex_pre_unlock(mutex, flags);
  release();
  __tsan_mutex_post_unlock(mutex, flags);
}

// Runs `wait`, which releases `mutex` and takes it again before it returns.
template <typename Function>
auto Wait(absl::Mutex* mutex, const Function& wait) {
  __tsan_mutex_pre_unlock(mutex, kWrite);
  __tsan_mutex_post_unlock(mutex, kWrite);
  __tsan_mutex_pre_lock(mutex, kWrite);
  struct Relock {
    ~Relock() { __tsan_mutex_post_lock(mutex, kWrite, 0); }
    absl::Mutex* mutex;
  } relock{mutex};
  return wait();
}

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

Mutex::~Mutex() {
  static const auto original =
      Original<void(Mutex*)>("_ZN4absl7debian35MutexD1Ev");
  original(this);
  __tsan_mutex_destroy(this, __tsan_mutex_not_static);
}

void Mutex::Lock() {
  static const auto original =
      Original<void(Mutex*)>("_ZN4absl7debian35Mutex4LockEv");
  ::Lock(this, kWrite, [this] { original(this); });
}

void Mutex::Unlock() {
  static const auto original =
      Original<void(Mutex*)>("_ZN4absl7debian35Mutex6UnlockEv");
  ::Unlock(this, kWrite, [this] { original(this); });
}

bool Mutex::TryLock() {
  static const auto original =
      Original<bool(Mutex*)>("_ZN4absl7debian35Mutex7TryLockEv");
  return ::TryLock(this, kWrite, [this] { return original(this); });
}

void Mutex::ReaderLock() {
  static const auto original =
      Original<void(Mutex*)>("_ZN4absl7debian35Mutex10ReaderLockEv");
  ::Lock(this, kRead, [this] { original(this); });
}

void Mutex::ReaderUnlock() {
  static const auto original =
      Original<void(Mutex*)>("_ZN4absl7debian35Mutex12ReaderUnlockEv");
  ::Unlock(this, kRead, [this] { original(this); });
}

bool Mutex::ReaderTryLock() {
  static const auto original =
      Original<bool(Mutex*)>("_ZN4absl7debian35Mutex13ReaderTryLockEv");
  return ::TryLock(this, kRead, [this] { return original(this); });
}

void Mutex::LockWhen(const Condition& condition) {
  static const auto original = Original<void(Mutex*, const Condition&)>(
      "_ZN4absl7debian35Mutex8LockWhenERKNS0_9ConditionE");
  ::Lock(this, kWrite, [&] { original(this, condition); });
}

void Mutex::ReaderLockWhen(const Condition& condition) {
  static const auto original = Original<void(Mutex*, const Condition&)>(
      "_ZN4absl7debian35Mutex14ReaderLockWhenERKNS0_9ConditionE");
  ::Lock(this, kRead, [&] { original(this, condition); });
}

bool Mutex::LockWhenWithDeadline(const Condition& condition, Time deadline) {
  static const auto original = Original<bool(Mutex*, const Condition&, Time)>(
      "_ZN4absl7debian35Mutex20LockWhenWithDeadlineERKNS0_9ConditionENS0_"
      "4TimeE");
  bool met = false;  // The lock is held in either case.
  ::Lock(this, kWrite, [&] { met = original(this, condition, deadline); });
  return met;
}

bool Mutex::LockWhenWithTimeout(const Condition& condition, Duration timeout) {
  return LockWhenWithDeadline(condition, Now() + timeout);
}

bool Mutex::ReaderLockWhenWithDeadline(const Condition& condition,
                                       Time deadline) {
  static const auto original = Original<bool(Mutex*, const Condition&, Time)>(
      "_ZN4absl7debian35Mutex26ReaderLockWhenWithDeadlineERKNS0_9ConditionENS0_"
      "4TimeE");
  bool met = false;  // The lock is held in either case.
  ::Lock(this, kRead, [&] { met = original(this, condition, deadline); });
  return met;
}

bool Mutex::ReaderLockWhenWithTimeout(const Condition& condition,
                                      Duration timeout) {
  return ReaderLockWhenWithDeadline(condition, Now() + timeout);
}

void Mutex::Await(const Condition& condition) {
  static const auto original = Original<void(Mutex*, const Condition&)>(
      "_ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE");
  Wait(this, [&] { original(this, condition); });
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  static const auto original = Original<bool(Mutex*, const Condition&, Time)>(
      "_ZN4absl7debian35Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE");
  return Wait(this, [&] { return original(this, condition, deadline); });
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  return AwaitWithDeadline(condition, Now() + timeout);
}

void CondVar::Wait(Mutex* mutex) {
  static const auto original = Original<void(CondVar*, Mutex*)>(
      "_ZN4absl7debian37CondVar4WaitEPNS0_5MutexE");
  ::Wait(mutex, [&] { original(this, mutex); });
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  static const auto original = Original<bool(CondVar*, Mutex*, Time)>(
      "_ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  return ::Wait(mutex, [&] { return original(this, mutex, deadline); });
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  return WaitWithDeadline(mutex, Now() + timeout);
}

void Notification::Notify() {
  static const auto original =
      Original<void(Notification*)>("_ZN4absl7debian312Notification6NotifyEv");
  __tsan_release(this);
  original(this);
}

void Notification::WaitForNotification() const {
  WaitForNotificationWithDeadline(InfiniteFuture());
}

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  return WaitForNotificationWithDeadline(Now() + timeout);
}

bool Notification::WaitForNotificationWithDeadline(Time deadline) const {
  static const auto original = Original<bool(const Notification*, Time)>(
      "_ZNK4absl7debian312Notification31WaitForNotificationWithDeadlineENS0_"
      "4TimeE");
  const bool notified = original(this, deadline);
  if (notified) __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

bool BlockingCounter::DecrementCount() {
  static const auto original = Original<bool(BlockingCounter*)>(
      "_ZN4absl7debian315BlockingCounter14DecrementCountEv");
  __tsan_release(this);
  return original(this);
}

void BlockingCounter::Wait() {
  static const auto original = Original<void(BlockingCounter*)>(
      "_ZN4absl7debian315BlockingCounter4WaitEv");
  original(this);
  __tsan_acquire(this);
}

ABSL_NAMESPACE_END
}  // namespace absl
