// Fuzzes what `blockexport pull` and `restore` read from a backup directory and from a server: manifests, tables of
// chunks, and block status.
//
// Input: the first byte chooses the target, the rest is its text or bytes. A manifest that is accepted is written and
// read again as the same; an accepted table is in order; segments and chunks cover what the server described, once.
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "base/byte_reader.h"
#include "client/backup/block_status.h"
#include "client/backup/chunk_plan.h"
#include "client/backup/chunk_table.h"
#include "client/backup/journal.h"
#include "client/backup/json_members.h"
#include "client/backup/manifest.h"
#include "json/writer.h"

namespace blockexport::backup {
namespace {

using Bytes = std::span<const std::byte>;

void require(bool promise) {
  if (!promise) std::abort();
}

// The text, with the checksum that its point has: no random input has the right one.
std::string with_right_checksum(std::string_view text) {
  auto whole = parse_small_object(text);
  if (!whole) return std::string(text);
  const json::Value* point = whole->find("blockexport-backup-point");
  if (point == nullptr) return std::string(text);
  whole->set("checksum", hex_of(sha256_of(json::to_string(*point))));
  return json::to_string(std::move(*whole));
}

void fuzz_manifest(std::string_view text) {
  (void)check_journal("journal", std::string(text), {});
  for (const std::string& one : {std::string(text), with_right_checksum(text)}) {
    const auto parsed = parse_manifest(one);
    if (!parsed) continue;
    const auto again = encode_manifest(parsed->manifest);
    // Only a name that JSON changes is not written again.
    if (!again) continue;
    const auto reread = parse_manifest(*again);
    require(reread && reread->manifest == parsed->manifest);
  }
}

void fuzz_table(Bytes bytes) {
  ByteReader reader(bytes);
  TableBounds bounds{.records = bytes.size() / kRecordBytes, .disk_bytes = reader.u64(), .data_bytes = reader.u64()};
  const unsigned flags = reader.u8();
  bounds.covers_whole_disk = (flags & 1) != 0;
  bounds.is_packed = (flags & 2) != 0;
  RecordCheck check(bounds);
  std::uint64_t end = 0;
  while (reader.remaining() >= kRecordBytes) {
    const auto record = decode_record(reader.bytes(kRecordBytes).first<kRecordBytes>());
    if (!record) continue;
    require(decode_record(encode_record(*record)) == record);
    if (!check.accept(*record)) continue;
    require(record->chunk.offset >= end && record->chunk.end() <= bounds.disk_bytes);
    end = record->chunk.end();
  }
  (void)check.finish();
}

void fuzz_status(Bytes bytes) {
  ByteReader reader(bytes);
  const std::uint64_t offset = reader.u32();
  // Longer data only makes more chunks of the same kind.
  const std::uint64_t length = 1 + reader.u32() % (std::uint64_t{1} << 24);
  const std::uint64_t changed_from = reader.u32();
  const unsigned flags = reader.u8();
  ContextStatus changes;
  ContextStatus allocation;
  for (ContextStatus* one : {&changes, &allocation}) {
    one->expect(length);
    for (unsigned count = reader.u8(); count > 0; --count) {
      const std::uint64_t wide = reader.u32();
      one->add({.length = (flags & 1) != 0 ? wide << 32 | wide : wide, .flags = reader.u8()});
    }
    one->end_answer();
  }
  const bool has_changes = (flags & 2) != 0;
  if (!allocation.check("base:allocation") || (has_changes && !changes.check("dirty"))) return;
  std::vector<Segment> segments;
  const std::uint64_t described = append_segments({.offset = offset,
                                                   .length = length,
                                                   .changes = has_changes ? &changes : nullptr,
                                                   .allocation = &allocation,
                                                   .changed_from = changed_from},
                                                  segments);
  require(described > 0 && described <= length);
  std::uint64_t end = offset;
  std::uint64_t copied = 0;
  for (const Segment& segment : segments) {
    require(segment.offset == end && segment.length > 0);
    end += segment.length;
    if (segment.kind != SegmentKind::kUnchanged) copied += segment.length;
  }
  require(end == offset + described);
  ChunkPlan plan(std::uint64_t{1} << 16);
  plan.add(segments);
  plan.finish();
  std::uint64_t planned_end = offset;
  while (const auto chunk = plan.next()) {
    require(chunk->offset >= planned_end && chunk->length > 0 && chunk->end() <= end);
    require(chunk->kind == ChunkKind::kZero || chunk->length <= std::uint64_t{1} << 16);
    planned_end = chunk->end();
    copied -= chunk->length;
  }
  require(copied == 0);
}

}  // namespace
}  // namespace blockexport::backup

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blockexport::backup;
  if (size == 0) return 0;
  const auto bytes = std::as_bytes(std::span(data, size));
  switch (data[0] % 3) {
    case 0:
      fuzz_manifest({reinterpret_cast<const char*>(data) + 1, size - 1});
      break;
    case 1:
      fuzz_table(bytes.subspan(1));
      break;
    default:
      fuzz_status(bytes.subspan(1));
  }
  return 0;
}
