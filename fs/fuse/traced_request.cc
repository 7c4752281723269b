#include "fs/fuse/traced_request.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/descriptor.h"
#include "fs/fuse/control_directory.h"
#include "fs/fuse/operations.h"

namespace varve::fs {
namespace {

// Takes the text up to a NUL, and the NUL, off `text`.
absl::string_view TakeName(absl::string_view& bytes) {
  const size_t end = bytes.find('\0');
  const absl::string_view name = bytes.substr(0, end);
  bytes.remove_prefix(end == absl::string_view::npos ? bytes.size() : end + 1);
  return name;
}

std::string In(const std::string& directory, absl::string_view name) {
  return absl::StrCat(directory, directory == "/" ? "" : "/", name);
}

// How many bytes of a request lie between its header and the name of a file in
// the directory that the header names; nothing if there is no such name.
std::optional<size_t> BytesBeforeName(uint32_t opcode) {
  switch (opcode) {
    case FUSE_LOOKUP:
    case FUSE_UNLINK:
    case FUSE_RMDIR:
    case FUSE_SYMLINK:
      return 0;
    case FUSE_MKNOD:
      return sizeof(fuse_mknod_in);
    case FUSE_MKDIR:
      return sizeof(fuse_mkdir_in);
    case FUSE_CREATE:
      return sizeof(fuse_create_in);
    case FUSE_LINK:
      return sizeof(fuse_link_in);
    case FUSE_RENAME:
      return sizeof(fuse_rename_in);
    case FUSE_RENAME2:
      return sizeof(fuse_rename2_in);
    default:
      return std::nullopt;
  }
}

// The first member of the body: the other inode, of a rename or link.
uint64_t OtherInode(absl::string_view body) {
  uint64_t ino = 0;
  if (body.size() >= sizeof(ino)) std::memcpy(&ino, body.data(), sizeof(ino));
  return ino;
}

void SetPaths(FuseContext& context, const fuse_in_header& header,
              absl::string_view body, TracedRequest& traced) {
  const ContentReader& reader = context.volume.reader();
  traced.path = reader.PathOf(header.nodeid);
  const std::optional<size_t> before = BytesBeforeName(header.opcode);
  if (!before.has_value() || body.size() < *before) return;
  absl::string_view names = body.substr(*before);
  const std::string name(TakeName(names));
  if (header.opcode == FUSE_LINK) {
    traced.target = In(traced.path, name);
    traced.path = reader.PathOf(OtherInode(body));
    return;
  }
  traced.path = In(traced.path, name);
  if (header.opcode == FUSE_RENAME || header.opcode == FUSE_RENAME2) {
    traced.target = In(reader.PathOf(OtherInode(body)), TakeName(names));
  } else if (header.opcode == FUSE_SYMLINK) {
    traced.target = std::string(TakeName(names));
  }
}

// The kernel gives the id of a thread. Fills in the id and the name of its
// process; leaves as they are those that cannot be found out.
void SetProcess(uint32_t thread, TracedRequest& traced) {
  traced.pid = thread;
  if (thread == 0) return;
  const std::string path = absl::StrCat("/proc/", thread, "/status");
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char buffer[512];
  const ssize_t size =
      file.valid() ? read(file.get(), buffer, sizeof(buffer)) : 0;
  if (size <= 0) return;
  const absl::string_view text(buffer, static_cast<size_t>(size));
  constexpr absl::string_view kName = "Name:\t";
  constexpr absl::string_view kProcess = "\nTgid:\t";
  if (text.substr(0, kName.size()) == kName) {
    traced.command =
        std::string(text.substr(kName.size(), text.find('\n') - kName.size()));
  }
  const size_t at = text.find(kProcess);
  if (at == absl::string_view::npos) return;
  const absl::string_view rest = text.substr(at + kProcess.size());
  uint32_t pid = 0;
  if (absl::SimpleAtoi(rest.substr(0, rest.find('\n')), &pid)) traced.pid = pid;
}

}  // namespace

std::optional<TracedRequest> DescribeRequest(FuseContext& context,
                                             absl::string_view request) {
  fuse_in_header header;
  if (request.size() < sizeof(header)) return std::nullopt;
  std::memcpy(&header, request.data(), sizeof(header));
  if (ControlDirectory::Owns(header.nodeid)) return std::nullopt;
  absl::string_view body = request.substr(sizeof(header));
  if (header.opcode == FUSE_LOOKUP) {
    absl::string_view names = body;
    if (ControlDirectory::IsAt(header.nodeid, TakeName(names))) {
      return std::nullopt;
    }
  }
  TracedRequest traced;
  traced.time = std::chrono::system_clock::now();
  traced.operation = OperationName(header.opcode);
  SetProcess(header.pid, traced);
  SetPaths(context, header, body, traced);
  return traced;
}

}  // namespace varve::fs
