// StoreFile: the file of a bitmap store, with complete transfers, the lock against other processes, and two open file
// descriptions.
//
// Linux reports a failed writeback once to each description, to its next sync. So intents and superblocks are written
// through one, and bits and catalogs through the other: the sync of either fails after its own data were lost, though
// the syncs overlap. Calls on one description never overlap; its user serialises them.
// Owned by a BitmapStore. Thread: its reactor's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "aio/file/open_file.h"
#include "aio/task/task.h"
#include "base/error.h"

namespace blockexport::block {

class StoreFile {
 public:
  enum class Description : std::uint8_t { kIntents, kBits };
  enum class Durability : bool { kLater, kNow };

  // Opens and locks the file. `may_create`: it is created when there is none. Errors: for users; busy when another
  // process has the lock.
  static aio::Task<Result<std::unique_ptr<StoreFile>>> open(aio::Reactor& reactor, std::string path, bool may_create);
  StoreFile(const StoreFile&) = delete;
  StoreFile& operator=(const StoreFile&) = delete;

  const std::string& path() const { return path_; }
  // When it was opened.
  std::uint64_t size_bytes() const { return size_bytes_; }
  // Text by which the file differs from its copies.
  const std::string& identity() const { return identity_; }
  // True if there was no file before.
  bool is_created() const { return is_created_; }

  // ENODATA: the file ends before.
  aio::Task<IoResult> read(std::uint64_t offset, std::span<std::byte> bytes);
  // kNow: the bytes are durable when it returns.
  aio::Task<IoResult> write(Description description, std::uint64_t offset, std::span<const std::byte> bytes,
                            Durability durability);
  // All earlier writes through this description are durable when it returns.
  aio::Task<IoResult> sync(Description description);
  // Makes the file empty, durably.
  aio::Task<IoResult> truncate();
  // Removes the file's name from its directory. No error if there is none.
  aio::Task<IoResult> unlink();
  // Makes the file's name, or its removal, durable.
  aio::Task<IoResult> sync_directory();

 private:
  StoreFile(aio::Reactor& reactor, std::string path) : reactor_(reactor), path_(std::move(path)) {}
  aio::Task<Result<>> open_both(bool may_create);
  aio::Task<Result<>> lock();
  aio::Task<void> identify(std::uint64_t inode);
  int fd(Description description) const { return description == Description::kIntents ? intents_->fd() : bits_->fd(); }

  aio::Reactor& reactor_;
  const std::string path_;
  std::unique_ptr<aio::OpenFile> intents_;  // holds the lock
  std::unique_ptr<aio::OpenFile> bits_;
  std::uint64_t size_bytes_ = 0;
  std::string identity_;
  bool is_created_ = false;
};

}  // namespace blockexport::block
