#include "client/backup/block_status.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/printable.h"

namespace blockexport::backup {
namespace {

// Walks the entries of one context; without a context, one entry that never ends.
class Cursor {
 public:
  Cursor(const ContextStatus* status, std::uint64_t flags_without) : status_(status), flags_(flags_without) { load(); }
  std::uint64_t flags() const { return flags_; }
  std::uint64_t rest() const { return rest_; }
  void advance(std::uint64_t length) {
    rest_ -= length;
    if (rest_ == 0) load();
  }

 private:
  void load() {
    if (status_ == nullptr) {
      rest_ = UINT64_MAX;
      return;
    }
    if (next_ == status_->entries().size()) return;
    const StatusEntry& entry = status_->entries()[next_++];
    rest_ = entry.length;
    flags_ = entry.flags;
  }

  const ContextStatus* status_;
  std::size_t next_ = 0;
  std::uint64_t rest_ = 0;
  std::uint64_t flags_;
};

SegmentKind kind_of(bool is_changed, std::uint64_t allocation_flags) {
  if (!is_changed) return SegmentKind::kUnchanged;
  return (allocation_flags & kZeroFlag) != 0 ? SegmentKind::kZero : SegmentKind::kData;
}

}  // namespace

void ContextStatus::expect(std::uint64_t length) {
  entries_.clear();
  length_ = length;
  covered_ = 0;
  is_complete_ = false;
  has_empty_ = false;
}

void ContextStatus::add(StatusEntry entry) {
  if (is_complete_ || covered_ == length_) return;
  if (entry.length == 0) {
    has_empty_ = true;
    return;
  }
  entry.length = std::min(entry.length, length_ - covered_);
  if (!entries_.empty() && entries_.back().flags == entry.flags) {
    entries_.back().length += entry.length;
  } else {
    if (entries_.size() == kStatusEntriesMax) return end_answer();
    entries_.push_back(entry);
  }
  covered_ += entry.length;
}

Result<> ContextStatus::check(std::string_view context) const {
  if (covered_ > 0 && !has_empty_) return {};
  return fail(Error(fmt::format("the server answered a query for block status of '{}' with {}", printable(context),
                                has_empty_ ? "an empty extent" : "no extent"))
                  .with_hint("This violates the NBD protocol; the server has a fault."));
}

std::uint64_t append_segments(const StatusOfRange& status, std::vector<Segment>& segments) {
  std::uint64_t described = status.length;
  for (const ContextStatus* one : {status.changes, status.allocation}) {
    if (one != nullptr) described = std::min(described, one->covered());
  }
  Cursor changes(status.changes, kDirtyFlag);
  Cursor allocation(status.allocation, 0);
  for (std::uint64_t done = 0; done < described;) {
    const std::uint64_t offset = status.offset + done;
    std::uint64_t length = std::min({described - done, changes.rest(), allocation.rest()});
    const bool is_grown = offset >= status.changed_from;
    if (!is_grown) length = std::min(length, status.changed_from - offset);
    const bool is_changed = is_grown || (changes.flags() & kDirtyFlag) != 0;
    const SegmentKind kind = kind_of(is_changed, allocation.flags());
    if (!segments.empty() && segments.back().kind == kind &&
        segments.back().offset + segments.back().length == offset) {
      segments.back().length += length;
    } else {
      segments.push_back({.offset = offset, .length = length, .kind = kind});
    }
    changes.advance(length);
    allocation.advance(length);
    done += length;
  }
  return described;
}

std::optional<MapExtent> ExtentJoiner::add(const MapExtent& extent) {
  if (joined_ && joined_->flags == extent.flags && joined_->offset + joined_->length == extent.offset) {
    joined_->length += extent.length;
    return std::nullopt;
  }
  return std::exchange(joined_, extent);
}

std::optional<MapExtent> ExtentJoiner::finish() {
  return std::exchange(joined_, std::nullopt);
}

std::string describe_flags(std::string_view context, std::uint64_t flags) {
  if (context == kAllocationContext) {
    if (flags == 0) return "data";
    if (flags == kHoleFlag) return "hole";
    if (flags == kZeroFlag) return "zero";
    return flags == (kHoleFlag | kZeroFlag) ? "hole,zero" : "";
  }
  if (context.starts_with(kBitmapContextPrefix)) {
    if (flags == 0) return "clean";
    return flags == kDirtyFlag ? "dirty" : "";
  }
  if (context == "qemu:allocation-depth") {
    if (flags == 0) return "unallocated";
    return flags == 1 ? "local" : fmt::format("backing depth {}", flags);
  }
  return {};
}

}  // namespace blockexport::backup
