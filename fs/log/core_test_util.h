// A store with a tree but without a Volume, for tests of the code below it.

#ifndef VARVE_FS_LOG_CORE_TEST_UTIL_H_
#define VARVE_FS_LOG_CORE_TEST_UTIL_H_

#include <string>
#include <utility>

#include "engine/base/test_util.h"
#include "engine/store/store.h"
#include "fs/log/checkpoint.h"
#include "fs/log/commit.h"
#include "fs/log/core.h"
#include "gtest/gtest.h"

namespace varve::fs {

// Makes a store at `path` that has only a root directory, and sets up `core`
// for it.
inline void MakeCore(const std::string& path, Core& core) {
  auto store = Store::Open(path, {.mode = OpenMode::kCreate});
  ASSERT_THAT(store, IsOk());
  core.store = *std::move(store);
  core.identity = Identity::Make(Timestamp::Now());
  const std::string identity = core.identity.Encode();
  absl::MutexLock lock(&core.commit_mu);
  {
    absl::MutexLock tree_lock(&core.tree_mu);
    ASSERT_THAT(ResetLogTree(core), IsOk());
  }
  Commit commit(core, Timestamp::Now());
  commit.AddEntry(HashKey(Identity::Key()), {AsBytes(identity)});
  commit.Add(PutInode{.ino = kRootIno, .attributes = {.mode = 040755}});
  ASSERT_THAT(commit.Finish(), IsOk());
}

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_CORE_TEST_UTIL_H_
