// SimulatedFile: one file of a simulated disk: what readers see now, and what would be left after a power cut.
//
// Changes are kept in order until a sync; a power cut keeps each whole, loses it, or tears it at sectors of 512 bytes.
// Writing back may fail before: some writes then never get to the disk, and each open descriptor is told once, as by
// Linux.
// Owned by the World. Thread: the simulation's.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "aio/sim/page_store.h"
#include "aio/sim/random.h"

namespace blockexport::aio {

struct FileChange {
  enum class Kind { kWrite, kPunch, kAllocate, kTruncate };
  Kind kind;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;          // kTruncate: the new size
  std::vector<std::byte> data = {};  // kWrite
  bool survives = false;             // written through to the disk
  std::uint64_t number = 0;          // SimulatedFile::changes() before it
};

class SimulatedFile {
 public:
  explicit SimulatedFile(std::uint64_t inode) : inode_(inode) {}

  std::uint64_t inode() const { return inode_; }
  const PageStore& pages() const { return now_; }
  // How often it has changed: its time stamp.
  std::uint64_t changes() const { return changes_; }

  void apply(FileChange change);
  // A change that was under way when the power went; only power_cut() may bring it to the disk.
  void apply_unfinished(FileChange change) { unflushed_.push_back(std::move(change)); }
  // Brings the first `changes` changes to the disk, or all.
  void sync(std::uint64_t changes = UINT64_MAX);
  // Brings the change of this number to the disk, if it has not been lost.
  void keep(std::uint64_t number);
  void power_cut(Random& random);
  // The content without any change that a power cut may still take away.
  PageStore stable_pages() const;

  // Some of the writes that are not on the disk yet will never be. False: there was none.
  bool fail_write_back(Random& random);
  // Failures so far; that of an open descriptor is another number until it has been told.
  std::uint64_t losses() const { return losses_; }
  // The number for a new descriptor: nobody tells it again what somebody else was told.
  std::uint64_t losses_told() const { return losses_told_; }
  void losses_are_told() { losses_told_ = losses_; }

  // An OFD lock of one byte. `mode` is F_RDLCK, F_WRLCK or F_UNLCK; false: somebody else's stands against it.
  bool lock(std::uint64_t offset, std::uint64_t owner, int mode);
  bool can_lock(std::uint64_t offset, std::uint64_t owner, int mode) const;
  void unlock_all(std::uint64_t owner);
  std::vector<std::uint64_t> locked_by(std::uint64_t owner) const;

 private:
  std::uint64_t inode_;
  std::uint64_t changes_ = 0;
  PageStore now_;
  PageStore on_disk_;
  std::vector<FileChange> unflushed_;
  std::uint64_t losses_ = 0;
  std::uint64_t losses_told_ = 0;
  std::map<std::uint64_t, std::map<std::uint64_t, int>> locks_;  // by offset, then by owner
};

}  // namespace blockexport::aio
