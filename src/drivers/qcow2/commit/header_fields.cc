#include "drivers/qcow2/commit/header_fields.h"

#include <array>
#include <span>

#include "base/byte_writer.h"
#include "base/error.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kDiskFieldsOffset = 24;
constexpr std::uint64_t kL1EntriesOffset = 36;
constexpr std::uint64_t kRefcountTableOffset = 48;
constexpr std::uint64_t kSnapshotsOffset = 60;
constexpr std::uint64_t kIncompatibleFeaturesOffset = 72;
constexpr std::uint64_t kAutoclearFeaturesOffset = 88;

aio::Task<IoResult> write_bytes(block::Node& file, std::uint64_t offset, std::span<std::byte> bytes) {
  const iovec vector{bytes.data(), bytes.size()};
  co_return co_await file.write({offset, bytes.size()}, {&vector, 1}, {});
}

aio::Task<IoResult> write_features(block::Node& file, std::uint64_t offset, std::uint64_t features) {
  std::array<std::byte, 8> bytes;
  ByteWriter(bytes).u64(features);
  CO_TRY(co_await write_bytes(file, offset, bytes));
  co_return co_await file.flush();
}

}  // namespace

aio::Task<IoResult> write_incompatible_features(block::Node& file, std::uint64_t features) {
  return write_features(file, kIncompatibleFeaturesOffset, features);
}

aio::Task<IoResult> write_autoclear_features(block::Node& file, std::uint64_t features) {
  return write_features(file, kAutoclearFeaturesOffset, features);
}

aio::Task<IoResult> write_disk_fields(block::Node& file, const DiskFields& fields) {
  std::array<std::byte, 24> bytes;
  ByteWriter writer(bytes);
  writer.u64(fields.disk_bytes);
  writer.u32(fields.encryption_method);
  writer.u32(fields.l1_entries);
  writer.u64(fields.l1_offset);
  CO_TRY(co_await write_bytes(file, kDiskFieldsOffset, bytes));
  co_return co_await file.flush();
}

aio::Task<IoResult> write_refcount_table_fields(block::Node& file, RefcountTableFields fields) {
  std::array<std::byte, 12> bytes;
  ByteWriter writer(bytes);
  writer.u64(fields.offset);
  writer.u32(fields.clusters);
  co_return co_await write_bytes(file, kRefcountTableOffset, bytes);
}

aio::Task<IoResult> write_root_fields(block::Node& file, RootFields fields) {
  std::array<std::byte, 24> bytes;
  ByteWriter writer(bytes);
  writer.u32(fields.l1_entries);
  writer.u64(fields.l1_offset);
  writer.u64(fields.refcount_table.offset);
  writer.u32(fields.refcount_table.clusters);
  co_return co_await write_bytes(file, kL1EntriesOffset, bytes);
}

aio::Task<IoResult> write_snapshot_fields(block::Node& file, SnapshotFields fields) {
  std::array<std::byte, 12> bytes;
  ByteWriter writer(bytes);
  writer.u32(fields.snapshots);
  writer.u64(fields.offset);
  CO_TRY(co_await write_bytes(file, kSnapshotsOffset, bytes));
  co_return co_await file.flush();
}

}  // namespace blockexport::drivers::qcow2
