// Copying of an export into a file, chunk by chunk, with a table of checksums that is the journal meanwhile.
//
// One loop over all connections: it reads block status ahead, keeps several reads in flight, and writes each chunk and
// then its record when its read ends. Thread: one; blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "client/backup/chunk_table.h"
#include "client/backup/export_client.h"
#include "client/backup/image_target.h"
#include "client/backup/progress.h"

namespace blockexport::backup {

// Reads in flight, of one chunk each, over all connections.
inline constexpr unsigned kRequestsMax = 256;
// Segments that wait in the plan before more block status is queried.
inline constexpr std::size_t kWaitingSegmentsMax = 1024;

struct CopyOptions {
  // The contexts that the client has selected: the dirty bitmap first, if any, then base:allocation, if the server has
  // it.
  std::vector<std::string> contexts;
  bool has_changes = false;     // the first context is a dirty bitmap
  bool has_allocation = false;  // the last context is base:allocation
  std::uint64_t changed_from = UINT64_MAX;
  std::uint64_t chunk_bytes = kChunkBytesMax;
  bool is_packed = false;   // data chunks follow each other in the file, instead of lying at their offsets
  bool is_resumed = false;  // chunks with a record in the table, and the right content in the file, are kept
  unsigned requests = 1;    // 1 to kRequestsMax
  int timeout_ms = 300'000;
};

struct CopyTotals {
  std::uint64_t records = 0;
  std::uint64_t data_bytes = 0;
  std::uint64_t zero_bytes = 0;
  std::uint64_t kept_bytes = 0;  // of the data, kept from before an interruption
};

// The memory of requests in flight, which outlives the client.
struct CopyMemory {
  struct Slot {
    ExportRead read;
    std::unique_ptr<std::byte[]> bytes;
    ChunkRecord record;
    std::uint64_t index = 0;  // of the record
    bool is_in_flight = false;
  };
  std::vector<Slot> slots;
  StatusQuery query;
};

// Copies the export. Error: the server failed, a connection broke, or the disk is full: file and table hold all that
// was finished.
Result<CopyTotals> copy_export(ExportClient& client, CopyMemory& memory, const CopyOptions& options, SparseFile& data,
                               const NamedFile& table, Progress& progress);

// Reads a copy back from the disk and compares it with the table. Error: it differs; names the offset.
Result<> verify_copy(SparseFile& data, const NamedFile& table, const TableBounds& bounds, Progress& progress);

}  // namespace blockexport::backup
