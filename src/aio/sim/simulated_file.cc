#include "aio/sim/simulated_file.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

namespace blockexport::aio {
namespace {

constexpr std::uint64_t kSectorBytes = 512;

void apply_to(PageStore& pages, const FileChange& change) {
  switch (change.kind) {
    case FileChange::Kind::kWrite:
      return pages.write(change.offset, change.data);
    case FileChange::Kind::kPunch:
      return pages.punch(change.offset, change.length);
    case FileChange::Kind::kAllocate:
      return pages.allocate(change.offset, change.length);
    case FileChange::Kind::kTruncate:
      return pages.truncate(change.length);
  }
}

void apply_torn(PageStore& pages, const FileChange& change, Random& random) {
  std::uint64_t length = change.kind == FileChange::Kind::kWrite ? change.data.size() : change.length;
  std::uint64_t done = 0;
  while (done < length) {
    std::uint64_t at = change.offset + done;
    std::uint64_t count = std::min(length - done, kSectorBytes - at % kSectorBytes);
    if (random.one_in(2)) {
      if (change.kind == FileChange::Kind::kWrite) {
        pages.write(at, std::span(change.data).subspan(done, count));
      } else {
        pages.punch(at, count);
      }
    }
    done += count;
  }
}

}  // namespace

void SimulatedFile::apply(FileChange change) {
  apply_to(now_, change);
  change.number = changes_++;
  unflushed_.push_back(std::move(change));
}

void SimulatedFile::sync(std::uint64_t changes) {
  auto first_kept =
      std::ranges::find_if(unflushed_, [&](const FileChange& change) { return change.number >= changes; });
  for (auto change = unflushed_.begin(); change != first_kept; ++change) apply_to(on_disk_, *change);
  unflushed_.erase(unflushed_.begin(), first_kept);
}

void SimulatedFile::keep(std::uint64_t number) {
  for (FileChange& change : unflushed_) change.survives = change.survives || change.number == number;
}

bool SimulatedFile::fail_write_back(Random& random) {
  auto lost = std::erase_if(unflushed_, [&](const FileChange& change) {
    return change.kind == FileChange::Kind::kWrite && !change.survives && random.one_in(2);
  });
  if (lost > 0) ++writeback_errors_;
  return lost > 0;
}

void SimulatedFile::power_cut(Random& random) {
  for (const FileChange& change : unflushed_) {
    bool can_tear = change.kind == FileChange::Kind::kWrite || change.kind == FileChange::Kind::kPunch;
    std::uint64_t fate = random.below(can_tear ? 3 : 2);
    if (change.survives || fate == 0) {
      apply_to(on_disk_, change);
    } else if (fate == 2) {
      apply_torn(on_disk_, change, random);
    }
  }
  unflushed_.clear();
  now_ = on_disk_;
  ++changes_;
  locks_.clear();
}

PageStore SimulatedFile::stable_pages() const {
  PageStore stable = on_disk_;
  for (const FileChange& change : unflushed_) {
    if (change.survives) apply_to(stable, change);
  }
  return stable;
}

bool SimulatedFile::can_lock(std::uint64_t offset, std::uint64_t owner, int mode) const {
  auto held = locks_.find(offset);
  if (held == locks_.end() || mode == F_UNLCK) return true;
  return std::ranges::all_of(held->second, [&](const auto& lock) {
    return lock.first == owner || (mode == F_RDLCK && lock.second == F_RDLCK);
  });
}

bool SimulatedFile::lock(std::uint64_t offset, std::uint64_t owner, int mode) {
  if (!can_lock(offset, owner, mode)) return false;
  if (mode == F_UNLCK) {
    locks_[offset].erase(owner);
  } else {
    locks_[offset][owner] = mode;
  }
  return true;
}

void SimulatedFile::unlock_all(std::uint64_t owner) {
  for (auto& [offset, owners] : locks_) owners.erase(owner);
}

std::vector<std::uint64_t> SimulatedFile::locked_by(std::uint64_t owner) const {
  std::vector<std::uint64_t> offsets;
  for (const auto& [offset, owners] : locks_) {
    if (owners.contains(owner)) offsets.push_back(offset);
  }
  return offsets;
}

}  // namespace blockexport::aio
