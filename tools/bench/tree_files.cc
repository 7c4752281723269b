#include "tools/bench/tree_files.h"

#include <fcntl.h>

#include <cstdlib>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"

namespace varve::bench {
namespace {

constexpr fs::Caller kCaller{.uid = 1000, .gid = 1000, .umask = 0};
constexpr size_t kContentSize = 100;

std::string OuterName(uint64_t number) {
  return absl::StrCat("part", number / TreeFiles::kFilesInDirectory /
                                  TreeFiles::kDirectoriesInOne);
}

std::string InnerName(uint64_t number) {
  return absl::StrCat("folder", number / TreeFiles::kFilesInDirectory);
}

}  // namespace

void FailTree(absl::string_view what) {
  std::cerr << "tree_bench: " << what << "\n";
  std::exit(2);
}

void Must(const absl::Status& status) {
  if (!status.ok()) FailTree(status.ToString());
}

std::string TreeFiles::NameOf(uint64_t number) {
  return absl::StrCat("file", number, ".txt");
}

std::string TreeFiles::ContentOf(uint64_t number) {
  std::string content = absl::StrCat(number, " ");
  content.resize(kContentSize, 'x');
  return content;
}

void TreeFiles::MakeDirectoriesFor(uint64_t number) {
  if (number % kFilesInDirectory != 0) return;
  if (number % (kFilesInDirectory * kDirectoriesInOne) == 0) {
    MakeDirectory(fs::kRootIno, OuterName(number));
  }
  MakeDirectory(Find(fs::kRootIno, OuterName(number)), InnerName(number));
}

uint64_t TreeFiles::DirectoryOf(uint64_t number) {
  return Find(Find(fs::kRootIno, OuterName(number)), InnerName(number));
}

uint64_t TreeFiles::MakeDirectory(uint64_t parent, const std::string& name) {
  const uint64_t ino =
      Must(volume_->MakeDirectory(parent, name, 0755, kCaller)).ino;
  volume_->Forget(ino, 1);
  return ino;
}

void TreeFiles::Create(uint64_t parent, const std::string& name,
                       absl::string_view content) {
  auto [stat, handle] =
      Must(volume_->Create(parent, name, 0644, O_WRONLY, kCaller));
  Must(volume_->Write(*handle, 0, content));
  Must(volume_->Flush(*handle));
  Must(volume_->Release(std::move(handle)));
  volume_->Forget(stat.ino, 1);
}

void TreeFiles::Clone(uint64_t parent, const std::string& name, uint64_t to,
                      const std::string& clone) {
  auto source = Must(volume_->Open(Find(parent, name), O_RDONLY));
  auto [stat, target] =
      Must(volume_->Create(to, clone, 0644, O_WRONLY, kCaller));
  const uint64_t size = kContentSize;
  if (Must(volume_->CopyRange(*source, 0, *target, 0, size)) != size) {
    FailTree(absl::StrCat(name, " was not cloned as a whole"));
  }
  Must(volume_->Flush(*target));
  Must(volume_->Release(std::move(target)));
  Must(volume_->Release(std::move(source)));
  volume_->Forget(stat.ino, 1);
}

uint64_t TreeFiles::Find(uint64_t parent, const std::string& name) {
  const uint64_t ino = Must(volume_->Lookup(parent, name)).ino;
  volume_->Forget(ino, 1);
  return ino;
}

void TreeFiles::ExpectContent(uint64_t parent, const std::string& name,
                              absl::string_view content) {
  auto handle = Must(volume_->Open(Find(parent, name), O_RDONLY));
  const std::string found =
      Must(Must(volume_->Read(*handle, 0, content.size() + 1)).Copy());
  if (found != content) {
    FailTree(absl::StrCat(name, " is not what was written"));
  }
  Must(volume_->Release(std::move(handle)));
}

void TreeFiles::ChangeMode(uint64_t parent, const std::string& name,
                           uint32_t mode) {
  Must(volume_
           ->SetAttributes(Find(parent, name), {.mode = mode},
                           /*handle=*/nullptr)
           .status());
}

void TreeFiles::Remove(uint64_t parent, const std::string& name) {
  Must(volume_->Unlink(parent, name));
}

}  // namespace varve::bench
