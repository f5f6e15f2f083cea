#include "drivers/qcow2/bitmaps/load_bitmap.h"

#include <fmt/format.h>

#include <algorithm>

#include "aio/task/current.h"
#include "base/byte_reader.h"
#include "base/printable.h"
#include "block/buffers.h"
#include "drivers/qcow2/bitmaps/bitmap_clusters.h"
#include "drivers/qcow2/file/zero_padded_read.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kTablePieceEntries = 8192;
// Clusters whose bits are all ones are marked without a read that would let other tasks run.
constexpr std::uint64_t kMarksPerTurn = 16;

std::string printed(const StoredBitmap& bitmap) {
  return printable(bitmap.name, kBitmapNameBytesMax);
}

class Loading {
 public:
  Loading(block::Node& file, const Geometry& geometry, block::DirtyBits& bits)
      : file_(file), geometry_(geometry), bits_(bits), memory_(geometry.cluster_bytes(), 4096) {}

  aio::Task<IoResult> load(std::uint64_t cluster, std::uint64_t entry) {
    if (entry == 0) co_return IoResult();
    if (++marked_ % kMarksPerTurn == 0) co_await aio::next_turn();
    const std::uint64_t offset = entry & kBitmapEntryOffsetMask;
    if (offset == 0) {
      const block::Range all = bits_range(geometry_, bits_, cluster);
      if (!all.empty()) bits_.mark(all);
      co_return IoResult();
    }
    if (!memory_) co_return fail(ENOMEM);
    const iovec vector{memory_.bytes().data(), memory_.bytes().size()};
    CO_TRY(co_await read_zero_padded(file_, {offset, memory_.bytes().size()}, {&vector, 1}));
    mark_clusters(geometry_, bits_, cluster, memory_.bytes());
    co_return IoResult();
  }

 private:
  block::Node& file_;
  const Geometry& geometry_;
  block::DirtyBits& bits_;
  block::AlignedMemory memory_;
  std::uint64_t marked_ = 0;
};

}  // namespace

aio::Task<std::expected<std::vector<std::uint64_t>, Errno>> read_bitmap_table(block::Node& file, Geometry geometry,
                                                                              StoredBitmap bitmap,
                                                                              std::uint64_t first) {
  const std::uint64_t count = std::min<std::uint64_t>(kTablePieceEntries, bitmap.table_entries - first);
  const block::Range range{bitmap.table_offset + first * sizeof(std::uint64_t), count * sizeof(std::uint64_t)};
  if (bitmap.table_offset > block::kNodeBytesMax || !range.fits(block::kNodeBytesMax)) co_return fail(EINVAL);
  std::vector<std::byte> bytes(range.length);
  const iovec vector{bytes.data(), bytes.size()};
  CO_TRY(co_await read_zero_padded(file, range, {&vector, 1}));
  std::vector<std::uint64_t> entries(count);
  ByteReader reader(bytes);
  for (std::uint64_t& entry : entries) {
    entry = reader.u64();
    if (!is_valid_bitmap_entry(geometry, entry)) co_return fail(EINVAL);
  }
  co_return entries;
}

aio::Task<Result<>> load_bitmap(block::Node& file, Geometry geometry, StoredBitmap bitmap, block::DirtyBits& bits) {
  const auto failed = [&bitmap](Errno error) {
    return fail(Error::system(fmt::format("Could not read bitmap '{}' from image", printed(bitmap)), error));
  };
  if (bitmap.table_entries != bitmap_clusters(geometry, bits.size_bytes(), bitmap.granularity_bits)) {
    co_return failed(Errno(EINVAL));
  }
  Loading loading(file, geometry, bits);
  for (std::uint64_t first = 0; first < bitmap.table_entries;) {
    const auto entries = co_await read_bitmap_table(file, geometry, bitmap, first);
    if (!entries) {
      co_return fail(
          Error::system(fmt::format("Could not read bitmap_table table from image for bitmap '{}'", printed(bitmap)),
                        entries.error()));
    }
    for (const std::uint64_t entry : *entries) {
      if (const IoResult loaded = co_await loading.load(first++, entry); !loaded) co_return failed(loaded.error());
    }
  }
  co_return Result<>();
}

}  // namespace blockexport::drivers::qcow2
