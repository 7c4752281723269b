// Reserve: blocks that the host has allocated for a store behind its end, so
// that a deletion can be appended even when no block of the disk is free.
//
// Ordinary appends leave the last kSize bytes of the blocks untouched. They
// allocate the space that they need before they write, in steps; an append that
// would have to use the reserve fails before it writes anything. Appends that
// free space may use the reserve.
//
// The blocks lie behind the end of the file, so nobody reads them. After a
// crash the file still has them; the next open for writing releases them.
//
// Not thread-safe: only the writer of the store may use it.

#ifndef VARVE_ENGINE_IO_RESERVE_H_
#define VARVE_ENGINE_IO_RESERVE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "engine/io/file.h"

namespace varve {

class Reserve {
 public:
  // Enough for more than four thousand deletions.
  static constexpr uint64_t kSize = uint64_t{1} << 20;
  // The most that is allocated ahead for ordinary appends, besides the reserve.
  static constexpr uint64_t kMostAhead = uint64_t{7} << 20;

  // `path` is the store's, for asking how much space is free. `file_system` is
  // not owned.
  Reserve(FileSystem* file_system, std::string path)
      : file_system_(file_system), path_(std::move(path)) {}
  Reserve(const Reserve&) = delete;
  Reserve& operator=(const Reserve&) = delete;

  // Forgets which blocks are held, releases those that an earlier process may
  // have left behind `end`, the end of the file, and allocates the reserve, or
  // as much of it as there is space for.
  void Renew(File& file, uint64_t end);

  // Call it before an append from `begin`, the end of the file, to `end`.
  // Returns ENOSPC or EDQUOT if there is no room for it. Returns OK where the
  // host cannot preallocate or fails in another way: the append itself will
  // tell.
  absl::Status MakeRoom(File& file, uint64_t begin, uint64_t end,
                        bool may_use_reserve);
  // Fills the reserve up as far as possible.
  void TopUp(File& file, uint64_t end);
  // Whether the last attempt to allocate found too little space.
  bool is_short() const { return is_short_; }

  // Notes that a truncation has released the blocks.
  void Lose() { end_ = 0; }
  // Releases the blocks to the host, provided that the file ends at `end`.
  void GiveBack(File& file, uint64_t end);
  // Passes the reserve on, together with its file, to another store.
  void HandOver(Reserve& to);

  // The number of bytes that are allocated behind `end`, the end of the file.
  uint64_t HeldBehind(uint64_t end) const;

 private:
  // Allocates blocks for the part of [begin, end) that has none yet, and for
  // more if there is plenty of space.
  absl::Status Extend(File& file, uint64_t begin, uint64_t end);
  absl::Status Allocate(File& file, uint64_t begin, uint64_t end);

  FileSystem* const file_system_;
  const std::string path_;
  // The end of the blocks as far as known; 0 if unknown.
  uint64_t end_ = 0;
  bool may_hold_ = false;     // there may be blocks behind the end
  bool unsupported_ = false;  // by the host
  bool is_short_ = false;
};

}  // namespace varve

#endif  // VARVE_ENGINE_IO_RESERVE_H_
