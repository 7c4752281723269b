// TreeFiles: a store with a tree of many numbered files, open through Volume,
// as a kernel would use it that remembers nothing. Whatever fails ends the
// program: a figure that comes from a wrong result must not be seen.

#ifndef VARVE_TOOLS_BENCH_TREE_FILES_H_
#define VARVE_TOOLS_BENCH_TREE_FILES_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/volume/volume.h"

namespace varve::bench {

// Says what went wrong, and ends the program with status 2.
[[noreturn]] void FailTree(absl::string_view what);
void Must(const absl::Status& status);
template <typename T>
T Must(absl::StatusOr<T> result) {
  Must(result.status());
  return *std::move(result);
}

class TreeFiles {
 public:
  static constexpr uint64_t kFilesInDirectory = 500;
  static constexpr uint64_t kDirectoriesInOne = 500;

  // Opens the store at `path`; it is made if `options.create`.
  TreeFiles(const std::string& path, fs::VolumeOptions options)
      : volume_(Must(fs::Volume::Open(path, std::move(options)))) {}

  fs::Volume& volume() { return *volume_; }
  void Close() { Must(volume_->Close()); }

  // --- By number: files are made in the order of their numbers, from 0 on ---

  static std::string NameOf(uint64_t number);
  static std::string ContentOf(uint64_t number);
  // Makes the directories that the file is the first one in.
  void MakeDirectoriesFor(uint64_t number);
  // The directory of a file, from the root on.
  uint64_t DirectoryOf(uint64_t number);

  // --- By directory ---

  uint64_t MakeDirectory(uint64_t parent, const std::string& name);
  // As open(2), write(2) and close(2) of a new file do.
  void Create(uint64_t parent, const std::string& name,
              absl::string_view content);
  // As `cp --reflink` does.
  void Clone(uint64_t parent, const std::string& name, uint64_t to,
             const std::string& clone);
  uint64_t Find(uint64_t parent, const std::string& name);
  void ExpectContent(uint64_t parent, const std::string& name,
                     absl::string_view content);
  void ChangeMode(uint64_t parent, const std::string& name, uint32_t mode);
  void Remove(uint64_t parent, const std::string& name);

 private:
  const std::unique_ptr<fs::Volume> volume_;
};

}  // namespace varve::bench

#endif  // VARVE_TOOLS_BENCH_TREE_FILES_H_
