// The operations of a round on contents of files.

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "fs/volume/model_round.h"

namespace varve::fs {
namespace {

constexpr size_t kMaxHandles = 6;
constexpr uint64_t kMaxModelFile = 12 << 20;

}  // namespace

uint64_t ModelRound::RandomSize() {
  switch (Below(20)) {
    case 0:
      return Below(400'000);
    case 1:
      return OneIn(10) ? Below(6 << 20) : Below(100);
    case 2:
    case 3:
    case 4:
      return Below(20'000);
    case 5:
      return 4096 * Below(4) + Below(3) - (OneIn(2) ? 0 : 1) + 1;
    case 6:
      return 1;
    default:
      return Below(300);
  }
}

std::string ModelRound::RandomBytes() {
  const uint64_t size = RandomSize();
  if (OneIn(6)) return std::string(size, '\0');
  return Pattern(random_(), size);
}

ModelRound::OpenFile* ModelRound::RandomHandle() {
  return open_.empty() ? nullptr : &open_[Below(open_.size())];
}

void ModelRound::ExpectContent(const std::string& actual,
                               const std::string& expected,
                               const std::string& what) {
  if (actual == expected) return;
  const auto differ = std::mismatch(
      actual.begin(),
      actual.begin() +
          static_cast<ptrdiff_t>(std::min(actual.size(), expected.size())),
      expected.begin());
  ADD_FAILURE() << what << ": has " << actual.size() << " bytes, expected "
                << expected.size() << "; differs at "
                << differ.first - actual.begin();
}

void ModelRound::DoCreate() {
  const std::string path = NewPath();
  Note("create ", Show(path));
  auto handle = store_.CreateFile(path, O_RDWR);
  Expect(handle.status(), model_.Make(path, S_IFREG | 0644, ""));
  if (!handle.ok()) return;
  FinishCreate(path);
  if (open_.size() < kMaxHandles && OneIn(2)) {
    open_.push_back({*std::move(handle), model_.Find(path)});
  } else {
    Expect(store_.CloseFile(*std::move(handle)), 0);
  }
}

void ModelRound::DoOpen() {
  const std::string path = ExistingFile();
  if (path.empty() || open_.size() >= kMaxHandles) return;
  const bool truncate = OneIn(3);
  Note(truncate ? "open and empty " : "open ", Show(path));
  auto handle = store_.OpenFile(path, truncate ? O_RDWR | O_TRUNC : O_RDWR);
  Expect(handle.status(), 0);
  if (!handle.ok()) return;
  open_.push_back({*std::move(handle), model_.Find(path)});
  if (!truncate) return;
  ModelTree::Resize(*open_.back().node, 0);
  NoteChange(open_.back());
}

void ModelRound::Flush(OpenFile& file) {
  // A flush does not commit what other handles have written, nor a file that
  // was only emptied.
  if (HasChanges(file) && !file.node->content.empty()) Commit(*file.node);
}

void ModelRound::DoClose() {
  if (open_.empty()) return;
  const size_t index = Below(open_.size());
  OpenFile file = std::move(open_[index]);
  open_.erase(open_.begin() + static_cast<ptrdiff_t>(index));
  Note("close inode ", file.node->ino);
  Expect(store_.CloseFile(std::move(file.handle)), 0);
  Flush(file);
  const bool last = std::none_of(
      open_.begin(), open_.end(),
      [&file](const OpenFile& other) { return other.node == file.node; });
  if (HasChanges(file) || last) Commit(*file.node);
}

void ModelRound::DoWriteHandle() {
  OpenFile* file = RandomHandle();
  if (file == nullptr) return;
  const uint64_t size = file->node->content.size();
  uint64_t offset = OneIn(2) ? size : Below(size + 1);
  if (OneIn(10)) offset = size + Below(10'000);
  const std::string bytes = RandomBytes();
  if (offset + bytes.size() > kMaxModelFile) return;
  Note("write inode ", file->node->ino, " at ", offset, " ", bytes.size());
  Expect(store_.volume().Write(*file->handle, offset, bytes), 0);
  ModelTree::Write(*file->node, offset, bytes);
  NoteChange(*file);
}

void ModelRound::DoWritePath() {
  const std::string path = ExistingFile();
  if (path.empty()) return;
  ModelNode& node = *model_.Find(path);
  const uint64_t offset =
      OneIn(2) ? node.content.size() : Below(node.content.size() + 1);
  const std::string bytes = RandomBytes();
  if (offset + bytes.size() > kMaxModelFile) return;
  Note("write and close ", Show(path), " at ", offset, " ", bytes.size());
  Expect(store_.WriteAt(path, offset, bytes), 0);
  ModelTree::Write(node, offset, bytes);
  Commit(node);
}

void ModelRound::DoOverwrite() {
  const std::string path = ExistingFile();
  if (path.empty()) return;
  const std::string bytes = RandomBytes();
  Note("overwrite ", Show(path), " by ", bytes.size());
  Expect(store_.Write(path, bytes, 1 + Below(200'000)), 0);
  ModelNode& node = *model_.Find(path);
  ModelTree::Resize(node, 0);
  ModelTree::Write(node, 0, bytes);
  Commit(node);
}

void ModelRound::DoTruncatePath() {
  const std::string path = ExistingPath();
  if (path.empty()) return;
  ModelNode& node = *model_.Find(path);
  const uint64_t size =
      OneIn(3) ? RandomSize() : Below(node.content.size() + 1);
  Note("truncate ", Show(path), " to ", size);
  const absl::Status status = store_.Truncate(path, size);
  Expect(status, node.is_regular() ? 0 : node.is_directory() ? EISDIR : EINVAL);
  if (!status.ok()) return;
  // Dirty content is truncated, too, and stays dirty.
  ModelTree::Resize(node, size);
  node.committed.resize(size, '\0');
}

void ModelRound::DoTruncateHandle() {
  OpenFile* file = RandomHandle();
  if (file == nullptr) return;
  const uint64_t size =
      OneIn(3) ? RandomSize() : Below(file->node->content.size() + 1);
  Note("ftruncate inode ", file->node->ino, " to ", size);
  const auto stat = store_.volume().SetAttributes(
      file->node->ino, {.size = size}, file->handle.get());
  Expect(stat.status(), 0);
  ModelTree::Resize(*file->node, size);
  NoteChange(*file);
  if (stat.ok()) {
    EXPECT_EQ(stat->attributes.size, size);
  }
}

void ModelRound::DoFallocate() {
  OpenFile* file = RandomHandle();
  if (file == nullptr) return;
  static constexpr int kModes[] = {
      0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
      FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
  const int mode = kModes[Below(5)];
  ModelNode& node = *file->node;
  const uint64_t offset = Below(node.content.size() + 100);
  const uint64_t length = 1 + RandomSize();
  if (offset + length > kMaxModelFile) return;
  Note("fallocate inode ", node.ino, " mode ", mode, " at ", offset, " ",
       length);
  Expect(store_.volume().Fallocate(*file->handle, mode, offset, length), 0);
  if ((mode & ~FALLOC_FL_KEEP_SIZE) != 0) {
    ModelTree::Zero(node, offset, length);
  }
  if ((mode & FALLOC_FL_KEEP_SIZE) == 0 &&
      offset + length > node.content.size()) {
    ModelTree::Resize(node, offset + length);
  }
  NoteChange(*file);
  node.mtime.reset();
}

void ModelRound::DoCopyRange() {
  OpenFile* from = RandomHandle();
  OpenFile* to = RandomHandle();
  if (from == nullptr) return;
  const ModelNode& source = *from->node;
  const uint64_t from_offset = OneIn(3) ? 0 : Below(source.content.size() + 10);
  const uint64_t length = OneIn(3) ? kMaxModelFile : RandomSize();
  uint64_t to_offset = OneIn(3) ? 0 : Below(to->node->content.size() + 10);
  const std::string bytes = from_offset < source.content.size()
                                ? source.content.substr(from_offset, length)
                                : "";
  if (to_offset + bytes.size() > kMaxModelFile) return;
  Note("copy inode ", source.ino, " at ", from_offset, " to inode ",
       to->node->ino, " at ", to_offset, " ", length);
  const auto copied = store_.volume().CopyRange(*from->handle, from_offset,
                                                *to->handle, to_offset, length);
  Expect(copied.status(), 0);
  if (!copied.ok()) return;
  // A short count is allowed if there is something to copy.
  EXPECT_LE(*copied, bytes.size());
  EXPECT_EQ(*copied == 0, bytes.empty());
  ModelTree::Write(*to->node, to_offset, bytes.substr(0, *copied));
  if (*copied > 0) NoteChange(*to);
}

void ModelRound::DoFlush() {
  OpenFile* file = RandomHandle();
  if (file == nullptr) return;
  const bool sync = OneIn(2);
  Note(sync ? "fsync inode " : "flush inode ", file->node->ino);
  if (sync) {
    Expect(store_.volume().Fsync(*file->handle), 0);
  } else {
    Expect(store_.volume().Flush(*file->handle), 0);
  }
  if (sync) {
    Commit(*file->node);
  } else {
    Flush(*file);
  }
}

void ModelRound::DoReadHandle() {
  OpenFile* file = RandomHandle();
  if (file == nullptr) return;
  const std::string& content = file->node->content;
  Note("read inode ", file->node->ino);
  if (OneIn(2)) {
    return ExpectContent(store_.ReadHandle(*file->handle), content,
                         log_.back());
  }
  const uint64_t offset = Below(content.size() + 10);
  const uint64_t size = RandomSize();
  const auto reply = store_.volume().Read(*file->handle, offset, size);
  Expect(reply.status(), 0);
  if (!reply.ok()) return;
  ExpectContent(reply->ToString(),
                offset < content.size() ? content.substr(offset, size) : "",
                log_.back());
}

void ModelRound::DoReadPath() {
  const std::string path = ExistingFile();
  if (path.empty()) return;
  Note("open, read, close ", Show(path));
  const auto text = store_.Read(path);
  Expect(text.status(), 0);
  ModelNode& node = *model_.Find(path);
  if (text.ok()) ExpectContent(*text, node.content, log_.back());
  // This close may have committed dirty content.
}

void ModelRound::DoSeek() {
  OpenFile* file = RandomHandle();
  if (file == nullptr) return;
  const std::string& content = file->node->content;
  Note("seek inode ", file->node->ino);
  Volume& volume = store_.volume();
  uint64_t at = 0;
  while (at < content.size()) {
    const auto hole = volume.Seek(*file->handle, at, SEEK_HOLE);
    ASSERT_THAT(hole, IsOk());
    ASSERT_LE(at, *hole);
    ASSERT_LE(*hole, content.size());
    const auto data = volume.Seek(*file->handle, *hole, SEEK_DATA);
    ASSERT_TRUE(data.ok() || ErrnoOf(data.status()) == ENXIO);
    const uint64_t end = data.ok() ? *data : content.size();
    ASSERT_LE(*hole, end);
    EXPECT_EQ(content.substr(*hole, end - *hole).find_first_not_of('\0'),
              std::string::npos)
        << "bytes in a hole at " << *hole;
    if (*hole == content.size()) break;
    ASSERT_LT(*hole, end);
    at = end;
  }
  EXPECT_THAT(volume.Seek(*file->handle, content.size(), SEEK_DATA),
              HasErrno(ENXIO));
}

}  // namespace varve::fs
