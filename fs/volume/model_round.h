// ModelRound: applies some hundred random operations to a volume and to a model
// of it, and compares the two after every reopen and crash. Not thread-safe.

#ifndef VARVE_FS_VOLUME_MODEL_ROUND_H_
#define VARVE_FS_VOLUME_MODEL_ROUND_H_

#include <stdlib.h>

#include <cstdint>
#include <iostream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "fs/volume/model_tree.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {

class ModelRound {
 public:
  // The operations depend only on the seed.
  explicit ModelRound(uint64_t seed);
  // Runs the round. Fails the test if volume and model differ.
  void Run();

 private:
  struct OpenFile {
    TestVolume::HandlePtr handle;
    ModelNodePtr node;
    uint64_t wrote_in = 0;  // the node's round in which it last wrote
  };
  struct Operation {
    int weight;
    void (ModelRound::*run)();
  };

  // --- Chance ---

  uint64_t Below(uint64_t limit) { return random_() % limit; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  std::string RandomName();
  std::string ExistingPath();  // "" (the root) if there is nothing
  std::string ExistingFile();  // "" if there is none
  std::string NewPath();       // in an existing path; may itself exist
  std::string AnyPath() { return OneIn(4) ? NewPath() : ExistingPath(); }
  uint64_t RandomSize();
  std::string RandomBytes();
  OpenFile* RandomHandle();

  // --- Operations ---

  void DoOne();
  void DoCreate();
  void DoMakeDir();
  void DoSymlink();
  void DoOpen();
  void DoClose();
  void DoWriteHandle();
  void DoWritePath();
  void DoOverwrite();
  void DoTruncatePath();
  void DoTruncateHandle();
  void DoFallocate();
  void DoCopyRange();
  void DoFlush();
  void DoRename();
  void DoLink();
  void DoUnlink();
  void DoRemoveDir();
  void DoSetAttributes();
  void DoSetXattr();
  void DoRemoveXattr();
  void DoReadHandle();
  void DoReadPath();
  void DoSeek();
  void DoReopen();
  void DoCrash();
  void DoCompact();

  // --- Comparison ---

  // A path in printable form.
  static std::string Show(const std::string& path);
  template <typename... Parts>
  void Note(const Parts&... parts) {
    log_.push_back(absl::StrCat(step_, ": ", parts...));
    if (log_.size() > 60) log_.erase(log_.begin());
    if (getenv("VARVE_MODEL_LOG") != nullptr) std::cerr << log_.back() << "\n";
  }
  void Expect(const absl::Status& status, int number) {
    EXPECT_EQ(ErrnoOf(status), number) << log_.back() << ": " << status;
  }
  void ExpectContent(const std::string& actual, const std::string& expected,
                     const std::string& what);
  // Applies a commit of the file to the model.
  static void Commit(ModelNode& node) {
    node.committed = node.content;
    if (node.dirty) ++node.round;
    node.dirty = false;
  }
  static void NoteChange(OpenFile& file) {
    file.wrote_in = file.node->round;
    file.node->dirty = true;
  }
  static bool HasChanges(const OpenFile& file) {
    return file.wrote_in == file.node->round;
  }
  // Applies Volume::Flush() to the model.
  static void Flush(OpenFile& file);
  void FinishCreate(const std::string& path);
  void CompareAll(bool after_crash);
  void CompareNode(const std::string& path, ModelNode& node, bool after_crash);
  void ExpectNothingUnnamed();
  void CompareXattrs(const std::string& path, const ModelNode& node);

  std::mt19937_64 random_;
  const bool crashes_;  // whether it ever crashes
  TestVolume store_;
  ModelTree model_;
  std::vector<OpenFile> open_;
  std::vector<std::string> log_;
  std::set<std::string> paths_;  // all that ever existed
  int step_ = 0;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_MODEL_ROUND_H_
