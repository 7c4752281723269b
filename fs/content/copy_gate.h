// CopyGate: keeps compactions and long copies of files apart.
//
// A long copy holds Core::relocation_mu shared, and a compaction needs it
// exclusively. While the compaction waited for the copy, all other threads
// would wait behind it. So a compaction first closes the gate and lets copies
// that are under way finish. No copy begins while the gate is closed.
//
// Thread-safe.

#ifndef VARVE_FS_CONTENT_COPY_GATE_H_
#define VARVE_FS_CONTENT_COPY_GATE_H_

#include <atomic>

namespace varve::fs {

class CopyGate {
 public:
  // A long copy, for as long as the object lives.
  class Copy {
   public:
    // A copy counts itself before it checks the gate, and a compaction closes
    // the gate before it checks for copies. So if both begin at once, at least
    // one of them sees the other.
    explicit Copy(CopyGate& gate) : gate_(gate) {
      gate_.copies_.fetch_add(1);
      admitted_ = !gate_.closed_.load();
    }
    ~Copy() { gate_.copies_.fetch_sub(1); }
    Copy(const Copy&) = delete;
    Copy& operator=(const Copy&) = delete;

    // If false, a compaction has closed the gate, and nothing may be copied.
    bool admitted() const { return admitted_; }

   private:
    CopyGate& gate_;
    bool admitted_;
  };

  // Keeps the gate closed for as long as the object lives. At most one may
  // exist.
  class Closing {
   public:
    explicit Closing(CopyGate& gate) : gate_(gate) {
      gate_.closed_.store(true);
    }
    ~Closing() { gate_.closed_.store(false); }
    Closing(const Closing&) = delete;
    Closing& operator=(const Closing&) = delete;

   private:
    CopyGate& gate_;
  };

  bool closed() const { return closed_.load(); }
  // Whether a long copy is under way.
  bool has_copies() const { return copies_.load() > 0; }

 private:
  std::atomic<bool> closed_{false};
  std::atomic<int> copies_{0};
};

}  // namespace varve::fs

#endif  // VARVE_FS_CONTENT_COPY_GATE_H_
