// SimulatedFile: a file of a simulated disk: its content in the page cache, and its content after a power cut.
//
// Changes are queued in order until a sync; a power cut keeps each of them, loses it, or tears it at sectors of 512
// bytes. Writeback may fail before that: some writes then never reach the disk, and each open descriptor gets the error
// once, as on Linux. Owned by the World. Thread: the simulation's.
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
  std::uint64_t length = 0;          // for kTruncate: the new size
  std::vector<std::byte> data = {};  // kWrite
  bool survives = false;             // the change has reached the disk
  std::uint64_t number = 0;          // value of SimulatedFile::changes() before this change
};

class SimulatedFile {
 public:
  explicit SimulatedFile(std::uint64_t inode) : inode_(inode) {}

  std::uint64_t inode() const { return inode_; }
  const PageStore& pages() const { return now_; }
  // The number of changes; used as timestamp.
  std::uint64_t changes() const { return changes_; }

  void apply(FileChange change);
  // Adds a change that was under way at a power cut; only power_cut() may bring it to the disk.
  void apply_unfinished(FileChange change) { unflushed_.push_back(std::move(change)); }
  // Brings the first `changes` changes to the disk, or all.
  void sync(std::uint64_t changes = UINT64_MAX);
  // Marks the change of this number as on the disk, unless a writeback error lost it.
  void keep(std::uint64_t number);
  void power_cut(Random& random);
  // The content that a power cut cannot take away.
  PageStore stable_pages() const;

  // Simulates a writeback error: some of the writes that are not on the disk yet are lost. False: there was none to
  // lose.
  bool fail_write_back(Random& random);
  // The number of writeback errors so far. A descriptor whose own number is smaller has not reported the last one.
  std::uint64_t writeback_errors() const { return writeback_errors_; }
  // The initial number for a new descriptor, which does not report errors that another descriptor has reported.
  std::uint64_t reported_writeback_errors() const { return reported_writeback_errors_; }
  void set_writeback_errors_reported() { reported_writeback_errors_ = writeback_errors_; }

  // Takes or releases an OFD lock of one byte. `mode` is F_RDLCK, F_WRLCK or F_UNLCK; false: the lock of another owner
  // conflicts.
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
  std::uint64_t writeback_errors_ = 0;
  std::uint64_t reported_writeback_errors_ = 0;
  std::map<std::uint64_t, std::map<std::uint64_t, int>> locks_;  // by offset, then by owner
};

}  // namespace blockexport::aio
