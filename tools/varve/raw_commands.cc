// varve raw: entries by key, like the command of the crate simd-r-drive.

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "engine/base/status.h"
#include "engine/io/bus_guard.h"
#include "engine/store/store.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/json_text.h"
#include "tools/varve/open_store.h"
#include "tools/varve/raw_tree.h"

namespace varve::tools {
namespace {

// The arguments of all raw commands; each has some of them.
struct Arguments {
  std::string store;
  std::string key;
  std::string value;
  bool has_value = false;
  std::string target;  // another store, or a new key
  size_t buffer_size = size_t{64} << 10;
  bool json = false;
};

// "There is no such key" for NOT_FOUND, else the failure itself.
absl::Status AboutKey(const absl::Status& status, const Arguments& arguments) {
  if (!absl::IsNotFound(status)) return status;
  return ExitError(
      ExitStatus::kNotFound,
      absl::StrCat(arguments.store, " has no key \"", arguments.key, "\""));
}

// Makes durable what a command has written.
absl::Status Finish(Store& store) { return store.Sync().status(); }

absl::Status Read(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const auto store,
                         OpenStore(arguments.store, OpenMode::kRead));
  const auto entry = store->Read(arguments.key);
  if (!entry.ok()) return AboutKey(entry.status(), arguments);
  VARVE_RETURN_IF_ERROR(store->Verify(entry->location()));
  absl::string_view left = entry->payload_text();
  while (!left.empty()) {
    const std::string some(left.substr(0, arguments.buffer_size));
    if (HasLostBytes(entry->payload())) {
      return ErrorWithCode(absl::StatusCode::kDataLoss, EIO,
                           "the store cannot be read any more");
    }
    VARVE_RETURN_IF_ERROR(Print(some));
    left.remove_prefix(std::min(left.size(), arguments.buffer_size));
  }
  return isatty(STDOUT_FILENO) == 1 ? Print("\n") : absl::OkStatus();
}

absl::Status Write(const Arguments& arguments) {
  if (!arguments.has_value && isatty(STDIN_FILENO) == 1) {
    return ExitError(ExitStatus::kUsage,
                     "no value: give one, or pipe it into standard input");
  }
  VARVE_ASSIGN_OR_RETURN(
      const auto store,
      OpenStoreForRawWriting(arguments.store, OpenMode::kCreate));
  VARVE_RETURN_IF_ERROR(CheckRawKey(*store, arguments.key, arguments.value));
  if (arguments.has_value) {
    VARVE_RETURN_IF_ERROR(
        store->Write(arguments.key, AsBytes(arguments.value)).status());
  } else {
    std::ios::sync_with_stdio(false);
    VARVE_RETURN_IF_ERROR(store->WriteStream(arguments.key, std::cin).status());
  }
  return Finish(*store);
}

absl::Status CheckDifferent(const Arguments& arguments) {
  struct stat source;
  struct stat target;
  if (stat(arguments.store.c_str(), &source) == 0 &&
      stat(arguments.target.c_str(), &target) == 0 &&
      source.st_dev == target.st_dev && source.st_ino == target.st_ino) {
    return ExitError(ExitStatus::kUsage,
                     "both stores are the same; to rename a key, use "
                     "`varve raw rename`");
  }
  return absl::OkStatus();
}

// Checks a value that will be written into another store or under another key.
absl::Status CheckCopied(const Store& from, absl::string_view key,
                         const Store& to, absl::string_view new_key) {
  const auto entry = from.Read(key);
  return CheckRawKey(to, new_key,
                     entry.ok() ? entry->payload_text() : absl::string_view());
}

absl::Status Copy(const Arguments& arguments) {
  VARVE_RETURN_IF_ERROR(CheckDifferent(arguments));
  VARVE_ASSIGN_OR_RETURN(const auto store,
                         OpenStore(arguments.store, OpenMode::kRead));
  // Before the target is created.
  if (!store->Exists(arguments.key)) {
    return AboutKey(absl::NotFoundError(""), arguments);
  }
  VARVE_ASSIGN_OR_RETURN(
      const auto target,
      OpenStoreForRawWriting(arguments.target, OpenMode::kCreate));
  VARVE_RETURN_IF_ERROR(
      CheckCopied(*store, arguments.key, *target, arguments.key));
  VARVE_RETURN_IF_ERROR(
      AboutKey(store->Copy(arguments.key, *target), arguments));
  return Finish(*target);
}

absl::Status Move(const Arguments& arguments) {
  VARVE_RETURN_IF_ERROR(CheckDifferent(arguments));
  VARVE_ASSIGN_OR_RETURN(
      const auto store,
      OpenStoreForRawWriting(arguments.store, OpenMode::kReadWrite));
  if (!store->Exists(arguments.key)) {
    return AboutKey(absl::NotFoundError(""), arguments);
  }
  VARVE_ASSIGN_OR_RETURN(
      const auto target,
      OpenStoreForRawWriting(arguments.target, OpenMode::kCreate));
  VARVE_RETURN_IF_ERROR(CheckRawKey(*store, arguments.key, {}));
  VARVE_RETURN_IF_ERROR(
      CheckCopied(*store, arguments.key, *target, arguments.key));
  // The copy is durable before the original goes.
  VARVE_RETURN_IF_ERROR(
      AboutKey(store->Copy(arguments.key, *target), arguments));
  VARVE_RETURN_IF_ERROR(Finish(*target));
  VARVE_RETURN_IF_ERROR(store->Delete(arguments.key).status());
  return Finish(*store);
}

absl::Status Rename(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(
      const auto store,
      OpenStoreForRawWriting(arguments.store, OpenMode::kReadWrite));
  VARVE_RETURN_IF_ERROR(CheckRawKey(*store, arguments.key, {}));
  VARVE_RETURN_IF_ERROR(
      CheckCopied(*store, arguments.key, *store, arguments.target));
  VARVE_RETURN_IF_ERROR(
      AboutKey(store->Rename(arguments.key, arguments.target), arguments));
  return Finish(*store);
}

absl::Status Delete(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(
      const auto store,
      OpenStoreForRawWriting(arguments.store, OpenMode::kReadWrite));
  VARVE_RETURN_IF_ERROR(CheckRawKey(*store, arguments.key, {}));
  // As in the original, a key that is not there is no failure.
  VARVE_RETURN_IF_ERROR(store->Delete(arguments.key).status());
  return Finish(*store);
}

absl::Status Info(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const auto store,
                         OpenStore(arguments.store, OpenMode::kRead));
  if (arguments.json) {
    return Print(JsonText(
        {{"store", arguments.store},
         {"store_bytes", store->file_size()},
         {"live_entries", store->size()},
         {"compaction_would_save_bytes", store->EstimateCompactionSavings()}}));
  }
  return Print(
      absl::StrFormat("store: %s\nsize: %d bytes\nlive entries: %d\n"
                      "compaction would save: %d bytes\n",
                      Printable(arguments.store), store->file_size(),
                      store->size(), store->EstimateCompactionSavings()));
}

absl::Status ShowMetadata(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const auto store,
                         OpenStore(arguments.store, OpenMode::kRead));
  const auto entry = store->Read(arguments.key);
  if (!entry.ok()) return AboutKey(entry.status(), arguments);
  const EntryLocation& location = entry->location();
  const absl::Status verified = store->Verify(location);
  if (arguments.json) {
    VARVE_RETURN_IF_ERROR(Print(
        JsonText({{"key", arguments.key},
                  {"key_hash", absl::StrFormat("%016x", location.key_hash)},
                  {"payload_offset", location.payload_offset},
                  {"payload_bytes", location.payload_size},
                  {"metadata_offset", location.metadata_offset()},
                  {"bytes_on_disk", location.size_on_disk()},
                  {"previous_tail", location.prev_tail},
                  {"checksum", absl::StrFormat("%08x", location.crc32)},
                  {"valid", verified.ok()}})));
    return verified;
  }
  VARVE_RETURN_IF_ERROR(Print(absl::StrFormat(
      "key: %s\nkey hash: %016x\npayload offset: %d\npayload size: %d bytes\n"
      "metadata offset: %d\nsize on disk: %d bytes\nprevious tail: %d\n"
      "checksum: %08x (%s)\n",
      Printable(arguments.key), location.key_hash, location.payload_offset,
      location.payload_size, location.metadata_offset(),
      location.size_on_disk(), location.prev_tail, location.crc32,
      verified.ok() ? "valid" : "NOT VALID")));
  return verified;
}

absl::Status Compact(const Arguments& arguments) {
  return CompactRaw(arguments.store);
}

// Declares the raw commands to the parser.
class Declaration {
 public:
  Declaration(CLI::App& raw, Action& action) : raw_(raw), action_(action) {}

  CLI::App& Command(const std::string& name, const std::string& help,
                    const std::string& example,
                    absl::Status (*run)(const Arguments&)) {
    arguments_ = std::make_shared<Arguments>();
    CLI::App& command =
        AddCommand(raw_, name, help,
                   absl::StrCat("Example:\n  varve raw ", example, "\n"));
    command.add_option("STORE", arguments_->store, "The store")->required();
    OnCommand(command, action_, arguments_, run);
    return command;
  }
  // Of the command declared last.
  Arguments& arguments() { return *arguments_; }

  void WithKey(CLI::App& command) {
    command.add_option("KEY", arguments_->key, "The key")->required();
  }
  void WithJson(CLI::App& command) {
    command.add_flag("--json", arguments_->json, "As JSON");
  }
  void WithTarget(CLI::App& command) {
    command
        .add_option("TARGET", arguments_->target,
                    "Another store; it is made if there is none")
        ->required();
  }

 private:
  CLI::App& raw_;
  Action& action_;
  std::shared_ptr<Arguments> arguments_;
};

void DeclareReadAndWrite(Declaration& declare) {
  CLI::App& read = declare.Command("read", "Print the value of a key",
                                   "read old.store settings", &Read);
  declare.WithKey(read);
  read.add_option("-b,--buffer-size", declare.arguments().buffer_size,
                  "Bytes to write at a time, as in 64K")
      ->type_name("BYTES")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->check(CLI::PositiveNumber);

  CLI::App& write = declare.Command(
      "write", "Set the value of a key, in a store that is made if need be",
      "write old.store settings 'color=blue'\n"
      "  varve raw write old.store photo < photo.jpg",
      &Write);
  declare.WithKey(write);
  Arguments& arguments = declare.arguments();
  write.add_option_function<std::string>(
      "VALUE",
      [&arguments](const std::string& value) {
        arguments.value = value;
        arguments.has_value = true;
      },
      "The value (standard input)");
}

}  // namespace

void AddRawCommand(CLI::App& app, Action& action) {
  CLI::App& raw = AddCommand(
      app, "raw", "Work with entries by key, as simd-r-drive does",
      "A file of a tree that was written in one go has its path as key.\n\n"
      "Example:\n  varve raw read photos.varve 2023/summer/1.jpg > 1.jpg\n");
  raw.require_subcommand(1);
  Declaration declare(raw, action);
  DeclareReadAndWrite(declare);

  CLI::App& copy = declare.Command("copy", "Copy an entry into another store",
                                   "copy old.store settings new.store", &Copy);
  declare.WithKey(copy);
  declare.WithTarget(copy);
  CLI::App& move = declare.Command("move", "Move an entry into another store",
                                   "move old.store settings new.store", &Move);
  declare.WithKey(move);
  declare.WithTarget(move);

  CLI::App& rename = declare.Command("rename", "Give an entry another key",
                                     "rename old.store a b", &Rename);
  rename.add_option("OLD", declare.arguments().key, "The key")->required();
  rename.add_option("NEW", declare.arguments().target, "Its new key")
      ->required();

  declare.WithKey(declare.Command("delete", "Delete a key",
                                  "delete old.store settings", &Delete));
  declare.WithJson(declare.Command("info", "Show size and number of entries",
                                   "info old.store", &Info));
  CLI::App& metadata =
      declare.Command("metadata", "Show where an entry lies",
                      "metadata old.store settings", &ShowMetadata);
  declare.WithKey(metadata);
  declare.WithJson(metadata);
  declare.Command("compact", "Drop what is deleted or superseded",
                  "compact old.store", &Compact);
}

}  // namespace varve::tools
