// CheckReport: options, limits and result of the consistency check of a qcow2 image (check.h). Plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace blockexport::drivers::qcow2 {

// Memory for the references that were found: one to four bytes for each cluster of the file, by the width of refcounts.
inline constexpr std::uint64_t kCheckMemoryBytesMax = 128u << 20;
inline constexpr std::uint64_t kCheckClustersMax = (std::uint64_t{1} << 31) - 1;
// Number of entries of the L1 tables of all internal snapshots together.
inline constexpr std::uint64_t kCheckSnapshotL1EntriesMax = std::uint64_t{1} << 30;
inline constexpr std::size_t kCheckFindingsMax = 1000;
inline constexpr std::size_t kCheckPieceBytes = 64u << 10;

enum class CheckRepair : std::uint8_t {
  kNone,
  kLeaks,  // lowers refcounts that are too high
  kAll,    // also raises refcounts or makes new ones, and corrects flags and entries as far as no data depends on them
};

struct CheckOptions {
  CheckRepair repair = CheckRepair::kNone;
  std::uint64_t memory_bytes_max = kCheckMemoryBytesMax;
};

// State of the image after the repair, if there was one.
struct CheckReport {
  std::uint64_t corruptions = 0;
  std::uint64_t leaks = 0;         // clusters whose refcount is too high: space is lost, data are not
  std::uint64_t check_errors = 0;  // things that could not be read, and so were not checked
  std::uint64_t corruptions_fixed = 0;
  std::uint64_t leaks_fixed = 0;
  std::uint64_t image_end_offset = 0;  // end of the last cluster in use
  std::uint64_t total_clusters = 0;    // of the disk; the next three count its clusters too
  std::uint64_t allocated_clusters = 0;
  std::uint64_t fragmented_clusters = 0;
  std::uint64_t compressed_clusters = 0;
  std::vector<std::string> findings = {};  // a line for each thing that is wrong, before the repair and after it
  std::uint64_t findings_left_out = 0;     // number of lines past kCheckFindingsMax

  bool is_clean() const { return corruptions == 0 && leaks == 0 && check_errors == 0; }
};

}  // namespace blockexport::drivers::qcow2
