// DataIdFinder: tells data entries of the tree from entries of other programs,
// by the ids that their keys are made of. Ids are drawn one after the other,
// and each commit says which is next: those of the entries between two commits
// lie between what the two say. So nothing has to be tried but the ids around
// the entries in question, however many have been drawn.
//
// Not thread-safe.

#ifndef VARVE_FS_LOG_DATA_ID_FINDER_H_
#define VARVE_FS_LOG_DATA_ID_FINDER_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "engine/entry/entry.h"
#include "fs/format/commit_record.h"
#include "fs/format/identity.h"
#include "fs/tree/data_id_ranges.h"

namespace varve::fs {

class DataIdFinder {
 public:
  // `next_data_id`: no id from there on has been drawn.
  DataIdFinder(const Identity& identity, uint64_t next_data_id)
      : identity_(identity), next_data_id_(next_data_id), end_(next_data_id) {}

  // The entries of a store have to be shown newest first: its records (commits
  // and checkpoints), and those that are in question.
  void SeeRecord(const CommitHeader& header, const EntryLocation& record);
  void Ask(uint64_t key_hash);

  // The ids of those asked for that have been found, by key hash. Who is not
  // among them may be another program's; or it could not be told, in a store
  // that has drawn very many ids and was then put in another order. Neither may
  // be taken for dead.
  absl::flat_hash_map<uint64_t, uint64_t> Find();

 private:
  // Entries between two records.
  struct Stretch {
    uint64_t end;           // of the ids
    int records_below = 0;  // that have been seen
  };
  void Close(const Stretch& stretch, uint64_t begin);
  // Tries ids, the highest first, until all are found.
  void Try(const DataIdRanges& ranges);

  const Identity& identity_;
  const uint64_t next_data_id_;
  uint64_t end_;           // what the record above says
  bool is_asked_ = false;  // for an entry below that
  bool is_in_order_ = true;
  std::vector<Stretch> open_;
  DataIdRanges likely_;
  DataIdRanges possible_;
  absl::flat_hash_set<uint64_t> wanted_;
  absl::flat_hash_map<uint64_t, uint64_t> found_;
  uint64_t tries_left_ = kMaxKnownDataIds;
};

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_DATA_ID_FINDER_H_
