#include "client/backup/copier.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/printable.h"

namespace blockexport::backup {
namespace {

class Copier {
 public:
  Copier(ExportClient& client, CopyMemory& memory, const CopyOptions& options, SparseFile& data, const NamedFile& table,
         Progress& progress)
      : client_(client),
        memory_(memory),
        options_(options),
        data_(data),
        table_(table),
        progress_(progress),
        disk_bytes_(client.information().size_bytes),
        plan_(options.chunk_bytes) {}

  Result<CopyTotals> run();

 private:
  Result<> prepare();
  Result<> start_query();
  Result<> take_query();
  Result<> start_chunks();
  Result<> start_chunk(const Chunk& chunk, CopyMemory::Slot& slot);
  Result<> finish_reads();
  Result<bool> is_kept(const ChunkRecord& planned, std::uint64_t index);
  Result<> write_record(const ChunkRecord& record, std::uint64_t index) {
    return write_all(table_, index * kRecordBytes, encode_record(record));
  }
  CopyMemory::Slot* free_slot();
  void show_progress() { progress_.update(reached_ - in_flight_bytes_, copied_bytes_); }

  ExportClient& client_;
  CopyMemory& memory_;
  const CopyOptions& options_;
  SparseFile& data_;
  const NamedFile& table_;
  Progress& progress_;
  std::uint64_t disk_bytes_;
  ChunkPlan plan_;
  std::vector<Segment> segments_;
  CopyTotals totals_;
  std::uint64_t described_ = 0;     // the disk up to here has been given to the plan
  std::uint64_t reached_ = 0;       // end of the last chunk that was taken from the plan
  std::uint64_t copied_bytes_ = 0;  // read from the server
  std::uint64_t in_flight_bytes_ = 0;
  unsigned in_flight_ = 0;
  bool is_querying_ = false;
  std::uint64_t old_records_ = 0;  // of the table, from before an interruption
  std::vector<std::byte> old_bytes_;
};

Result<> Copier::prepare() {
  memory_.slots.resize(options_.requests);
  for (CopyMemory::Slot& slot : memory_.slots) slot.bytes.reset(new std::byte[options_.chunk_bytes]);
  if (options_.is_resumed) {
    TRY_ASSIGN(const std::uint64_t table_bytes, size_of(table_));
    old_records_ = table_bytes / kRecordBytes;
  }
  if (options_.contexts.empty() && disk_bytes_ > 0) {
    const Segment whole{.offset = 0, .length = disk_bytes_, .kind = SegmentKind::kData};
    plan_.add(std::span(&whole, 1));
    described_ = disk_bytes_;
  }
  if (described_ == disk_bytes_) plan_.finish();
  return {};
}

Result<> Copier::start_query() {
  if (is_querying_ || described_ == disk_bytes_ || plan_.waiting() > kWaitingSegmentsMax) return {};
  memory_.query.offset = described_;
  memory_.query.length = std::min(disk_bytes_ - described_, client_.information().status_bytes_max);
  TRY(client_.start(memory_.query));
  is_querying_ = true;
  return {};
}

Result<> Copier::take_query() {
  if (!is_querying_ || !memory_.query.has_ended) return {};
  is_querying_ = false;
  TRY(check_status(memory_.query, options_.contexts));
  const StatusOfRange status{
      .offset = memory_.query.offset,
      .length = memory_.query.length,
      .changes = options_.has_changes ? &memory_.query.contexts.front() : nullptr,
      .allocation = options_.has_allocation ? &memory_.query.contexts.back() : nullptr,
      .changed_from = options_.changed_from,
  };
  segments_.clear();
  described_ += append_segments(status, segments_);
  plan_.add(segments_);
  if (described_ == disk_bytes_) plan_.finish();
  return {};
}

CopyMemory::Slot* Copier::free_slot() {
  const auto found = std::ranges::find(memory_.slots, false, &CopyMemory::Slot::is_in_flight);
  return found == memory_.slots.end() ? nullptr : &*found;
}

Result<> Copier::start_chunks() {
  while (CopyMemory::Slot* slot = free_slot()) {
    const auto chunk = plan_.next();
    if (!chunk) break;
    TRY(start_chunk(*chunk, *slot));
    show_progress();
  }
  // Unchanged blocks up to the next chunk need no work.
  if (plan_.waiting() == 0 && in_flight_ == 0) reached_ = described_;
  return {};
}

Result<bool> Copier::is_kept(const ChunkRecord& planned, std::uint64_t index) {
  if (index >= old_records_) return false;
  RecordBytes bytes;
  TRY(read_all(table_, index * kRecordBytes, bytes));
  const auto record = decode_record(bytes);
  if (!record || record->chunk != planned.chunk || record->position != planned.position) return false;
  // A power cut may have lost data whose record was kept.
  old_bytes_.resize(record->chunk.length);
  TRY_ASSIGN(const std::uint64_t file_bytes, size_of(data_.file()));
  if (record->position + record->chunk.length > file_bytes) return false;
  TRY(read_all(data_.file(), record->position, old_bytes_));
  return sha256_of(old_bytes_) == record->sum;
}

Result<> Copier::start_chunk(const Chunk& chunk, CopyMemory::Slot& slot) {
  const std::uint64_t index = totals_.records++;
  reached_ = chunk.end();
  ChunkRecord record{.chunk = chunk};
  if (chunk.kind == ChunkKind::kZero) {
    totals_.zero_bytes += chunk.length;
    if (!options_.is_packed) TRY(data_.zero(chunk.offset, chunk.length));
    return write_record(record, index);
  }
  record.position = options_.is_packed ? totals_.data_bytes : chunk.offset;
  totals_.data_bytes += chunk.length;
  TRY_ASSIGN(const bool is_finished, is_kept(record, index));
  if (is_finished) {
    totals_.kept_bytes += chunk.length;
    return {};
  }
  slot.record = record;
  slot.index = index;
  slot.read.offset = chunk.offset;
  slot.read.bytes = std::span(slot.bytes.get(), chunk.length);
  TRY(client_.start(slot.read));
  slot.is_in_flight = true;
  ++in_flight_;
  in_flight_bytes_ += chunk.length;
  return {};
}

Result<> Copier::finish_reads() {
  for (CopyMemory::Slot& slot : memory_.slots) {
    if (!slot.is_in_flight || !slot.read.has_ended) continue;
    slot.is_in_flight = false;
    --in_flight_;
    in_flight_bytes_ -= slot.read.bytes.size();
    if (slot.read.error != 0) {
      return fail(Error::system(
          fmt::format("the server could not read {} bytes at offset {}", slot.read.bytes.size(), slot.read.offset),
          Errno(slot.read.error)));
    }
    slot.record.sum = sha256_of(slot.read.bytes);
    TRY(data_.write(slot.record.position, slot.read.bytes));
    TRY(write_record(slot.record, slot.index));
    copied_bytes_ += slot.read.bytes.size();
  }
  return {};
}

Result<CopyTotals> Copier::run() {
  TRY(prepare());
  for (;;) {
    TRY(start_query());
    TRY(start_chunks());
    TRY(start_query());
    if (in_flight_ == 0 && !is_querying_) {
      if (described_ == disk_bytes_ && plan_.waiting() == 0) break;
      continue;
    }
    TRY(client_.wait(options_.timeout_ms));
    TRY(take_query());
    TRY(finish_reads());
    show_progress();
  }
  return totals_;
}

}  // namespace

Result<CopyTotals> copy_export(ExportClient& client, CopyMemory& memory, const CopyOptions& options, SparseFile& data,
                               const NamedFile& table, Progress& progress) {
  Copier copier(client, memory, options, data, table, progress);
  return copier.run();
}

Result<> verify_copy(SparseFile& data, const NamedFile& table, const TableBounds& bounds, Progress& progress) {
  TRY(data.sync_and_forget());
  TableReader reader(table, bounds);
  std::vector<std::byte> bytes;
  std::uint64_t compared = 0;
  for (;;) {
    TRY_ASSIGN(const auto record, reader.next());
    if (!record) break;
    bool is_equal = true;
    if (record->chunk.kind == ChunkKind::kData) {
      bytes.resize(record->chunk.length);
      TRY(read_all(data.file(), record->position, bytes));
      is_equal = sha256_of(bytes) == record->sum;
      compared += bytes.size();
    } else if (!bounds.is_packed) {
      TRY_ASSIGN(is_equal, data.reads_as_zeroes(record->chunk.offset, record->chunk.length));
    }
    if (!is_equal) {
      const std::uint64_t position = record->chunk.kind == ChunkKind::kData ? record->position : record->chunk.offset;
      return fail(fmt::format("'{}' does not hold at byte {} what was written there", printable(data.file().path, 1024),
                              position));
    }
    progress.update(record->chunk.end(), compared);
  }
  return {};
}

}  // namespace blockexport::backup
