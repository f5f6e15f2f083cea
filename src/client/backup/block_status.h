// Block status of an NBD export: extents of meta contexts, and their combination into segments to copy.
//
// Pure functions and values that validate the answers of a server, which may be hostile: bounded memory, and no input
// makes them fail except with an error. Thread: any; not for two threads at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace blockexport::backup {

// Extents of one context in one answer that are used; the rest of a longer answer is queried again.
inline constexpr std::size_t kStatusEntriesMax = std::size_t{1} << 17;

inline constexpr std::string_view kAllocationContext = "base:allocation";
inline constexpr std::string_view kBitmapContextPrefix = "qemu:dirty-bitmap:";

// Bits of base:allocation and qemu:dirty-bitmap.
inline constexpr std::uint64_t kHoleFlag = 1;
inline constexpr std::uint64_t kZeroFlag = 2;
inline constexpr std::uint64_t kDirtyFlag = 1;

struct StatusEntry {
  std::uint64_t length = 0;
  std::uint64_t flags = 0;
  friend bool operator==(const StatusEntry&, const StatusEntry&) = default;
};

// The answer of a server for one context and one queried range.
class ContextStatus {
 public:
  // Forgets the last answer and expects one for a range of `length` bytes.
  void expect(std::uint64_t length);

  // Takes the entries of an answer. Entries behind the range or beyond the limit are ignored, and so is all but the
  // first answer. An empty extent makes the answer invalid.
  void add(StatusEntry entry);
  void end_answer() { is_complete_ = true; }
  bool is_complete() const { return is_complete_; }

  // Error: the server gave no extent for the range, or an empty one.
  Result<> check(std::string_view context) const;

  std::span<const StatusEntry> entries() const { return entries_; }
  // Bytes from the begin of the range that the entries describe; at most the length of the range.
  std::uint64_t covered() const { return covered_; }

 private:
  std::vector<StatusEntry> entries_;
  std::uint64_t length_ = 0;
  std::uint64_t covered_ = 0;
  bool is_complete_ = false;
  bool has_empty_ = false;
};

enum class SegmentKind : std::uint8_t {
  kUnchanged,  // not dirty: the parent has these bytes
  kZero,       // reads as zeroes
  kData,
};

struct Segment {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  SegmentKind kind = SegmentKind::kData;
  friend bool operator==(const Segment&, const Segment&) = default;
};

// Answers for the range that begins at `offset`.
struct StatusOfRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  const ContextStatus* changes = nullptr;     // a dirty bitmap; null: all bytes count as changed
  const ContextStatus* allocation = nullptr;  // base:allocation; null: all bytes count as data
  // Bytes from this offset on count as changed: the disk has grown since the parent.
  std::uint64_t changed_from = UINT64_MAX;
};

// Appends the segments of the range to `segments`, as far as all answers describe it, and returns the number of bytes
// described: at least 1 if each answer passed check(), at most `length`.
std::uint64_t append_segments(const StatusOfRange& status, std::vector<Segment>& segments);

// An extent of a map.
struct MapExtent {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t flags = 0;
  friend bool operator==(const MapExtent&, const MapExtent&) = default;
};

// Joins neighbouring extents with equal flags.
class ExtentJoiner {
 public:
  // Adds the extent that follows the last one. Returns the last joined extent if this one does not continue it.
  std::optional<MapExtent> add(const MapExtent& extent);
  // Returns the last joined extent, if any.
  std::optional<MapExtent> finish();

 private:
  std::optional<MapExtent> joined_;
};

// The meaning of flags of a known context, such as "hole,zero" or "dirty"; empty for others.
std::string describe_flags(std::string_view context, std::uint64_t flags);

}  // namespace blockexport::backup
