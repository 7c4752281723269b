// The table of operations, and what it answers about the control directory:
// requests as the kernel writes them go to a session of libfuse that has no
// mount.

#include "fs/fuse/operations.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "fs/fuse/channel.h"
#include "fs/fuse/context.h"
#include "fs/fuse/serve_request.h"
#include "fs/volume/volume_test_util.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using ::testing::UnorderedElementsAre;

constexpr uint64_t kControl = ControlDirectory::kFirstIno;
constexpr uint64_t kStatus = kControl + 1;
// Not in Debian's fuse.h.
constexpr uint32_t kStatx = 52;

TEST(OperationsTest, EachOpcodeHasOneRow) {
  std::set<uint32_t> seen;
  for (const Operation& row : Operations()) {
    EXPECT_TRUE(seen.insert(row.opcode).second) << row.name;
    EXPECT_EQ(FindOperation(row.opcode), &row) << row.name;
  }
  EXPECT_EQ(FindOperation(FUSE_POLL), nullptr);
  EXPECT_EQ(FindOperation(UINT32_MAX), nullptr);
}

TEST(OperationsTest, ARowIsForLibfuseOrAnsweredHere) {
  for (const Operation& row : Operations()) {
    EXPECT_NE(row.add == nullptr, row.answer == nullptr) << row.name;
  }
}

// A copied row that still names the member of the first would take its place.
TEST(OperationsTest, EachRowFillsAMemberOfItsOwn) {
  std::set<size_t> seen;
  for (const Operation& row : Operations()) {
    if (row.add == nullptr) continue;
    struct fuse_lowlevel_ops operations = {};
    row.add(operations);
    void* members[sizeof(operations) / sizeof(void*)];
    std::memcpy(members, &operations, sizeof(members));
    size_t filled = 0;
    for (size_t i = 0; i < std::size(members); ++i) {
      if (members[i] == nullptr) continue;
      ++filled;
      EXPECT_TRUE(seen.insert(i).second) << row.name;
    }
    EXPECT_EQ(filled, 1u) << row.name;
  }
}

TEST(OperationsTest, ThoseThatWaitForADiskOrCopyMayTakeLong) {
  std::vector<uint32_t> may_take_long;
  for (uint32_t opcode = 0; opcode < 5000; ++opcode) {
    if (MayTakeLong(opcode)) may_take_long.push_back(opcode);
  }
  EXPECT_THAT(may_take_long,
              UnorderedElementsAre(FUSE_FSYNC, FUSE_FSYNCDIR, FUSE_IOCTL,
                                   FUSE_FALLOCATE, FUSE_COPY_FILE_RANGE));
}

template <typename Request, typename Answer>
concept IsAnsweredWith = requires(Request& request, const Answer& answer) {
  request.Reply(answer);
};

TEST(OperationsTest, AWrongKindOfReplyDoesNotCompile) {
  static_assert(IsAnsweredWith<EntryRequest, Stat>);
  static_assert(!IsAnsweredWith<EntryRequest, absl::string_view>);
  static_assert(!IsAnsweredWith<DoneRequest, Stat>);
  static_assert(!IsAnsweredWith<WriteRequest, Stat>);
  static_assert(!IsAnsweredWith<OpenRequest, Stat>);
  static_assert(!IsAnsweredWith<DataRequest, SpaceInfo>);
  static_assert(!IsAnsweredWith<LibfuseRequest, absl::Status>);
}

template <typename Struct>
std::string Raw(const Struct& body) {
  return {reinterpret_cast<const char*>(&body), sizeof(body)};
}

// A name as it stands in a request.
std::string Text(absl::string_view name) {
  return absl::StrCat(name, absl::string_view("\0", 1));
}

struct Reply {
  bool came = false;
  int error = 0;
  std::string body;
};

template <typename Struct>
Struct As(const Reply& reply) {
  Struct body = {};
  EXPECT_GE(reply.body.size(), sizeof(body));
  std::memcpy(&body, reply.body.data(),
              std::min(sizeof(body), reply.body.size()));
  return body;
}

// The control directory of a tree with a file "f", and of an entry without a
// name, as the kernel sees it.
class ControlAnswersTest : public VolumeTest {
 protected:
  void SetUp() override {
    Open();
    Close();
    WithForeignStore([](Store& store) {
      ASSERT_THAT(store.Write("whatever", Bytes("theirs")), IsOk());
    });
    Open();
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends_), 0);
    context_ = std::make_unique<FuseContext>(volume(), "");
    struct fuse_args args = FUSE_ARGS_INIT(0, nullptr);
    ASSERT_EQ(fuse_opt_add_arg(&args, "test"), 0);
    const struct fuse_lowlevel_ops& operations = FuseOperations();
    context_->session = fuse_session_new(&args, &operations, sizeof(operations),
                                         context_.get());
    fuse_opt_free_args(&args);
    ASSERT_NE(context_->session, nullptr);
    const struct fuse_custom_io io = FuseChannelIo();
    ASSERT_EQ(fuse_session_custom_io(context_->session, &io, ends_[0]), 0);
    const fuse_init_in init = {.major = FUSE_KERNEL_VERSION, .minor = 31};
    ASSERT_EQ(Ask(FUSE_INIT, 0, Raw(init)).error, 0);
    ASSERT_THAT(Write("f", "text"), IsOk());
  }

  void TearDown() override {
    if (context_->session != nullptr) fuse_session_destroy(context_->session);
    close(ends_[1]);
    Close();
  }

  Reply Ask(uint32_t opcode, uint64_t ino, absl::string_view body) {
    fuse_in_header header = {};
    header.len = static_cast<uint32_t>(sizeof(header) + body.size());
    header.opcode = opcode;
    header.unique = ++unique_;
    header.nodeid = ino;
    std::string bytes = absl::StrCat(Raw(header), body);
    struct fuse_buf buffer = {};
    buffer.mem = bytes.data();
    buffer.size = NoteRequest(bytes.data(), bytes.size());
    ServeRequest(*context_, buffer);
    return Receive();
  }
  int Error(uint32_t opcode, uint64_t ino, absl::string_view body) {
    const Reply reply = Ask(opcode, ino, body);
    EXPECT_TRUE(reply.came);
    return reply.error;
  }
  // The handle of the file.
  uint64_t OpenIno(uint64_t ino) {
    const Reply reply = Ask(FUSE_OPEN, ino, Raw(fuse_open_in{}));
    EXPECT_EQ(reply.error, 0);
    return As<fuse_open_out>(reply).fh;
  }
  void ReleaseIno(uint64_t ino, uint64_t fh) {
    EXPECT_EQ(Error(FUSE_RELEASE, ino, Raw(fuse_release_in{.fh = fh})), 0);
  }

 private:
  // The answer to the last request, past notifications.
  Reply Receive() {
    std::string bytes(64 << 10, '\0');
    while (true) {
      const ssize_t count = recv(ends_[1], bytes.data(), bytes.size(), 0);
      fuse_out_header header;
      if (count < static_cast<ssize_t>(sizeof(header))) return {};
      std::memcpy(&header, bytes.data(), sizeof(header));
      if (header.unique != unique_) continue;
      return {.came = true,
              .error = -header.error,
              .body = bytes.substr(
                  sizeof(header), static_cast<size_t>(count) - sizeof(header))};
    }
  }

  int ends_[2] = {-1, -1};  // the first one is the session's
  std::unique_ptr<FuseContext> context_;
  uint64_t unique_ = 0;
};

TEST_F(ControlAnswersTest, ItsNameIsFoundAndRemembersNothing) {
  const auto root =
      As<fuse_entry_out>(Ask(FUSE_LOOKUP, kRootIno, Text(".varve")));
  EXPECT_EQ(root.nodeid, kControl);
  EXPECT_EQ(root.entry_valid, 0u);
  const auto status =
      As<fuse_entry_out>(Ask(FUSE_LOOKUP, kControl, Text("status")));
  EXPECT_EQ(status.nodeid, kStatus);
  EXPECT_EQ(status.entry_valid, 0u);
  EXPECT_EQ(Error(FUSE_LOOKUP, kControl, Text("none")), ENOENT);
  EXPECT_EQ(Error(FUSE_LOOKUP, kStatus, Text("none")), ENOTDIR);
  // Of the tree, the kernel may remember that there is no such name.
  const auto none =
      As<fuse_entry_out>(Ask(FUSE_LOOKUP, kRootIno, Text("none")));
  EXPECT_EQ(none.nodeid, 0u);
  EXPECT_GT(none.entry_valid, 0u);
}

TEST_F(ControlAnswersTest, AttributesAreToBeAskedForAnew) {
  const std::string body = Raw(fuse_getattr_in{});
  EXPECT_EQ(As<fuse_attr_out>(Ask(FUSE_GETATTR, kControl, body)).attr_valid,
            0u);
  EXPECT_GT(As<fuse_attr_out>(Ask(FUSE_GETATTR, kRootIno, body)).attr_valid,
            0u);
  // Both begin with how long they are valid.
  const std::string statx(24, '\0');
  EXPECT_EQ(As<uint64_t>(Ask(kStatx, kControl, statx)), 0u);
  EXPECT_GT(As<uint64_t>(Ask(kStatx, kRootIno, statx)), 0u);
  EXPECT_EQ(Error(FUSE_GETATTR, kControl + 64, body), ENOENT);
  EXPECT_EQ(Error(kStatx, kControl + 64, statx), ENOENT);
}

TEST_F(ControlAnswersTest, NothingIsMadeOrRemovedInIt) {
  const uint64_t f = Ino("f");
  EXPECT_EQ(Error(FUSE_MKNOD, kControl, Raw(fuse_mknod_in{}) + Text("x")),
            EROFS);
  EXPECT_EQ(Error(FUSE_MKDIR, kControl, Raw(fuse_mkdir_in{}) + Text("x")),
            EROFS);
  EXPECT_EQ(Error(FUSE_SYMLINK, kControl, Text("x") + Text("to")), EROFS);
  EXPECT_EQ(Error(FUSE_CREATE, kControl, Raw(fuse_create_in{}) + Text("x")),
            EROFS);
  EXPECT_EQ(Error(FUSE_TMPFILE, kControl, Raw(fuse_create_in{}) + Text("")),
            EROFS);
  EXPECT_EQ(Error(FUSE_UNLINK, kControl, Text("status")), EROFS);
  EXPECT_EQ(Error(FUSE_RMDIR, kControl, Text("unnamed")), EROFS);
  EXPECT_EQ(Error(FUSE_RMDIR, kRootIno, Text(".varve")), EROFS);
  EXPECT_EQ(Error(FUSE_LINK, kControl, Raw(fuse_link_in{f}) + Text("x")),
            EROFS);
  EXPECT_EQ(Error(FUSE_LINK, kRootIno, Raw(fuse_link_in{kStatus}) + Text("x")),
            EROFS);
}

TEST_F(ControlAnswersTest, NothingIsRenamedInto) {
  const auto rename = [this](uint64_t from, const char* name, uint64_t to,
                             const char* new_name) {
    return Error(
        FUSE_RENAME2, from,
        Raw(fuse_rename2_in{.newdir = to}) + Text(name) + Text(new_name));
  };
  EXPECT_EQ(rename(kRootIno, "f", kControl, "x"), EPERM);
  EXPECT_EQ(rename(kRootIno, "f", kRootIno, ".varve"), EPERM);
  EXPECT_EQ(rename(kRootIno, ".varve", kRootIno, "x"), EPERM);
  EXPECT_EQ(rename(kControl, "status", kRootIno, "x"), EPERM);
  EXPECT_EQ(rename(kControl, "status", kControl, "x"), EPERM);
  EXPECT_EQ(rename(kControl, "none", kRootIno, "x"), ENOENT);
  EXPECT_EQ(rename(kRootIno, "f", kRootIno, "g"), 0);
}

TEST_F(ControlAnswersTest, AnUnnamedEntryIsMovedIntoTheTree) {
  const auto unnamed =
      As<fuse_entry_out>(Ask(FUSE_LOOKUP, kControl, Text("unnamed")));
  const std::string name = absl::StrFormat("%016x", HashKey("whatever"));
  const auto entry =
      As<fuse_entry_out>(Ask(FUSE_LOOKUP, unnamed.nodeid, Text(name)));
  const uint64_t fh = OpenIno(entry.nodeid);
  const std::string read = Raw(fuse_read_in{.fh = fh, .size = 4096});
  EXPECT_EQ(Ask(FUSE_READ, entry.nodeid, read).body, "theirs");
  ReleaseIno(entry.nodeid, fh);
  const auto move = [&](uint32_t flags, const char* to) {
    return Error(FUSE_RENAME2, unnamed.nodeid,
                 Raw(fuse_rename2_in{.newdir = kRootIno, .flags = flags}) +
                     Text(name) + Text(to));
  };
  EXPECT_EQ(move(RENAME_EXCHANGE, "f"), EPERM);
  EXPECT_EQ(move(0, "f"), EEXIST);
  EXPECT_EQ(move(0, ".varve"), EPERM);
  EXPECT_EQ(move(RENAME_NOREPLACE, "new"), 0);
  EXPECT_THAT(TestVolume::Read("new"), IsOk());
  EXPECT_EQ(Error(FUSE_LOOKUP, unnamed.nodeid, Text(name)), ENOENT);
}

TEST_F(ControlAnswersTest, AttributesAreNotChanged) {
  EXPECT_EQ(Error(FUSE_SETATTR, kControl, Raw(fuse_setattr_in{})), EROFS);
  EXPECT_EQ(Error(FUSE_READLINK, kStatus, ""), EINVAL);
  const std::string set = std::string(FUSE_COMPAT_SETXATTR_IN_SIZE, '\0');
  EXPECT_EQ(Error(FUSE_SETXATTR, kControl, set + Text("user.a")), EROFS);
  EXPECT_EQ(Error(FUSE_REMOVEXATTR, kControl, Text("user.a")), EROFS);
  const std::string get = Raw(fuse_getxattr_in{.size = 9});
  EXPECT_EQ(Error(FUSE_GETXATTR, kControl, get + Text("user.a")), ENODATA);
  const Reply names = Ask(FUSE_LISTXATTR, kControl, get);
  EXPECT_EQ(names.error, 0);
  EXPECT_EQ(names.body, "");
}

TEST_F(ControlAnswersTest, FilesAreOpenedForReadingOnly) {
  EXPECT_EQ(Error(FUSE_OPEN, kStatus, Raw(fuse_open_in{.flags = O_WRONLY})),
            EROFS);
  EXPECT_EQ(Error(FUSE_OPEN, kControl, Raw(fuse_open_in{})), ENOENT);
  EXPECT_EQ(Error(FUSE_OPENDIR, kControl, Raw(fuse_open_in{})), ENOSYS);
  const uint64_t fh = OpenIno(kStatus);
  const Reply text =
      Ask(FUSE_READ, kStatus, Raw(fuse_read_in{.fh = fh, .size = 4096}));
  EXPECT_EQ(text.body.substr(0, 6), "uuid: ");
  EXPECT_EQ(
      Error(FUSE_WRITE, kStatus, Raw(fuse_write_in{.fh = fh, .size = 1}) + "x"),
      EBADF);
  EXPECT_EQ(Error(FUSE_FALLOCATE, kStatus, Raw(fuse_fallocate_in{.fh = fh})),
            EBADF);
  EXPECT_EQ(Error(FUSE_LSEEK, kStatus, Raw(fuse_lseek_in{.fh = fh})), EINVAL);
  EXPECT_EQ(Error(FUSE_FLUSH, kStatus, Raw(fuse_flush_in{.fh = fh})), 0);
  EXPECT_EQ(Error(FUSE_FSYNC, kStatus, Raw(fuse_fsync_in{.fh = fh})), 0);
  EXPECT_EQ(Error(FUSE_IOCTL, kStatus, Raw(fuse_ioctl_in{.fh = fh})), ENOTTY);
  ReleaseIno(kStatus, fh);
}

TEST_F(ControlAnswersTest, NothingIsCopiedFromOrToIt) {
  const uint64_t f = Ino("f");
  const uint64_t status_fh = OpenIno(kStatus);
  const uint64_t fh = OpenIno(f);
  const auto copy = [this](uint64_t from, uint64_t from_fh, uint64_t to,
                           uint64_t to_fh) {
    return Error(
        FUSE_COPY_FILE_RANGE, from,
        Raw(fuse_copy_file_range_in{
            .fh_in = from_fh, .nodeid_out = to, .fh_out = to_fh, .len = 1}));
  };
  EXPECT_EQ(copy(kStatus, status_fh, f, fh), EOPNOTSUPP);
  EXPECT_EQ(copy(f, fh, kStatus, status_fh), EOPNOTSUPP);
  EXPECT_EQ(copy(kStatus, status_fh, kStatus, status_fh), EOPNOTSUPP);
  ReleaseIno(kStatus, status_fh);
  ReleaseIno(f, fh);
}

TEST_F(ControlAnswersTest, ListingsHaveItsNames) {
  const std::string body = Raw(fuse_read_in{.size = 4096});
  EXPECT_THAT(Ask(FUSE_READDIR, kControl, body).body,
              testing::HasSubstr("status.json"));
  EXPECT_THAT(Ask(FUSE_READDIRPLUS, kControl, body).body,
              testing::HasSubstr("status.json"));
  EXPECT_THAT(Ask(FUSE_READDIR, kRootIno, body).body,
              testing::Not(testing::HasSubstr(".varve")));
  EXPECT_EQ(Error(FUSE_READDIR, kStatus, body), ENOTDIR);
}

TEST_F(ControlAnswersTest, APastTreeLivesAsLongAsTheKernelKnowsIt) {
  ASSERT_THAT(volume().history().CreateSnapshot("s"), IsOk());
  const auto look_up = [this](uint64_t parent, const std::string& name) {
    return As<fuse_entry_out>(Ask(FUSE_LOOKUP, parent, Text(name)));
  };
  const auto forget = [this](uint64_t ino) {
    Ask(FUSE_FORGET, ino, Raw(fuse_forget_in{.nlookup = 1}));
  };
  const uint64_t snapshots = look_up(kControl, "snapshots").nodeid;
  const fuse_entry_out root = look_up(snapshots, "s");
  const uint64_t f = look_up(root.nodeid, "f").nodeid;
  EXPECT_NE(f, Ino("f"));
  const std::string body = Raw(fuse_getattr_in{});
  forget(root.nodeid);
  EXPECT_EQ(Error(FUSE_GETATTR, f, body), 0);
  // Many others do not harm it.
  for (int i = 0; i < 1000; ++i) {
    const uint64_t at = look_up(kControl, "at").nodeid;
    forget(look_up(at, absl::StrCat("2999-01-01T00:00:00.", i, "Z")).nodeid);
  }
  EXPECT_EQ(Error(FUSE_GETATTR, f, body), 0);
  forget(f);
  EXPECT_EQ(Error(FUSE_GETATTR, f, body), ESTALE);
  const fuse_entry_out again = look_up(snapshots, "s");
  EXPECT_EQ(again.generation, root.generation);
  EXPECT_NE(again.nodeid, root.nodeid);
  // Another view has another generation, so that a handle of one is none of
  // the other.
  ASSERT_THAT(volume().history().CreateSnapshot("t"), IsOk());
  EXPECT_NE(look_up(snapshots, "t").generation, root.generation);
}

TEST_F(ControlAnswersTest, ForgettingHasNoAnswer) {
  EXPECT_FALSE(
      Ask(FUSE_FORGET, kControl, Raw(fuse_forget_in{.nlookup = 1})).came);
}

}  // namespace
}  // namespace varve::fs
