// Reserve: blocks that the host keeps for a store behind what is written, so
// that a deletion can be appended when the disk is full to the last block.
//
// Ordinary appends leave the last kSize bytes of it untouched: what they need
// is got from the host before they write, in steps, and an append that would
// eat into the reserve fails before it has written anything. Appends by which
// space becomes free may use it.
//
// The blocks lie behind the end of the file and read as nothing. A crash leaves
// them to the file; the next open gives them back.
//
// Not thread-safe: for the writer of the store.

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
  // For four thousand deletions and more.
  static constexpr uint64_t kSize = uint64_t{1} << 20;
  // What is kept ready for ordinary appends besides is at most this.
  static constexpr uint64_t kMostAhead = uint64_t{7} << 20;

  // `path` is that of the store, for finding out how much space there is.
  // `file_system` is not owned.
  Reserve(FileSystem* file_system, std::string path)
      : file_system_(file_system), path_(std::move(path)) {}
  Reserve(const Reserve&) = delete;
  Reserve& operator=(const Reserve&) = delete;

  // Forgets what is held, gives back what an earlier holder may have left
  // behind `end`, where the file ends, and makes the reserve, or as much of it
  // as there is space for.
  void Renew(File& file, uint64_t end);

  // To be called before an append from `begin`, where the file ends, to `end`.
  // ENOSPC or EDQUOT if there is no room for it. Hosts that cannot preallocate,
  // or fail otherwise, are no obstacle.
  absl::Status MakeRoom(File& file, uint64_t begin, uint64_t end,
                        bool may_use_reserve);
  // Completes the reserve as far as possible.
  void TopUp(File& file, uint64_t end);
  // Whether there was not enough space when some was last asked for.
  bool is_short() const { return is_short_; }

  // A truncation has taken the blocks away.
  void Lose() { end_ = 0; }
  // Gives the blocks back to the host, if the file ends at `end` indeed.
  void GiveBack(File& file, uint64_t end);
  // The file, with its reserve, has become another store's.
  void HandOver(Reserve& to);

  // Bytes that are held behind `end`, where the file ends.
  uint64_t HeldBehind(uint64_t end) const;

 private:
  // Makes blocks of [begin, end) that there are none for yet, and of more if
  // there is plenty.
  absl::Status Extend(File& file, uint64_t begin, uint64_t end);
  absl::Status Allocate(File& file, uint64_t begin, uint64_t end);

  FileSystem* const file_system_;
  const std::string path_;
  // Up to where there are blocks, as far as known; 0 if it is not.
  uint64_t end_ = 0;
  bool may_hold_ = false;     // blocks behind the end of the file
  bool unsupported_ = false;  // by the host
  bool is_short_ = false;
};

}  // namespace varve

#endif  // VARVE_ENGINE_IO_RESERVE_H_
