#include "drivers/qcow2/image_content.h"

#include <algorithm>

#include "aio/task/current.h"
#include "base/byte_reader.h"
#include "drivers/qcow2/file/table_turns.h"
#include "drivers/qcow2/file/zero_padded_read.h"

namespace blockexport::drivers::qcow2 {
namespace {

// The begin of a file whose clusters have the usual size, or are smaller.
constexpr std::uint64_t kFirstReadBytes = 64u << 10;
constexpr std::uint64_t kSnapshotReadBytes = 64u << 10;

// Reads `bytes` from `offset`; zeros past the end of the file.
aio::Task<std::expected<std::vector<std::byte>, Errno>> read_bytes(block::Node& file, std::uint64_t offset,
                                                                   std::uint64_t bytes) {
  std::vector<std::byte> content(static_cast<std::size_t>(bytes));
  const iovec vector{content.data(), content.size()};
  if (bytes > 0) CO_TRY(co_await read_zero_padded(file, {offset, bytes}, block::IoBuffers(&vector, 1)));
  co_return content;
}

aio::Task<Result<std::vector<std::uint64_t>>> read_l1(block::Node& file, const Header& header) {
  const std::uint64_t bytes = std::uint64_t{header.l1_entries} * sizeof(std::uint64_t);
  auto content = co_await read_bytes(file, header.l1_offset, bytes);
  if (!content) co_return fail(Error::system("Could not read L1 table", content.error()));
  ByteReader reader(*content);
  // The memory of a long table alone takes a while.
  co_await aio::next_turn();
  std::vector<std::uint64_t> l1(header.l1_entries);
  for (std::size_t i = 0; i < l1.size(); ++i) {
    if (i % kTableEntriesPerTurn == 0) co_await aio::next_turn();
    l1[i] = reader.u64();
  }
  co_return l1;
}

// The length of the table stands in its entries, so it is read in growing parts.
aio::Task<Result<SnapshotTable>> read_snapshots(block::Node& file, const Header& header) {
  const std::uint64_t bytes_max = snapshot_table_bytes_max(header);
  std::uint64_t bytes =
      std::clamp(snapshot_table_bytes_min(header), std::min(kSnapshotReadBytes, bytes_max), bytes_max);
  while (true) {
    auto content = co_await read_bytes(file, header.snapshots_offset, bytes);
    if (!content) co_return fail(Error::system("Failed to read snapshot table", content.error()));
    if (bytes == bytes_max || has_whole_snapshot_table(header, *content)) {
      co_return parse_snapshot_table(header, *content);
    }
    bytes = std::min(bytes_max, 2 * bytes);
  }
}

aio::Task<Result<std::vector<StoredBitmap>>> read_bitmaps(block::Node& file, const Header& header,
                                                          const BitmapsExtension& extension) {
  auto content = co_await read_bytes(file, extension.directory_offset, extension.directory_bytes);
  if (!content) co_return fail(Error::system("Failed to read bitmap directory", content.error()));
  co_return parse_bitmap_directory(header, extension, *content);
}

}  // namespace

aio::Task<Result<ImageBegin>> read_image_begin(block::Node& file, HeaderUse use) {
  auto content = co_await read_bytes(file, 0, kFirstReadBytes);
  if (!content) co_return fail(Error::system("Could not read qcow2 header", content.error()));
  CO_TRY_ASSIGN(const std::uint64_t cluster_bytes, parse_cluster_bytes(*content));
  if (cluster_bytes > content->size()) {
    content = co_await read_bytes(file, 0, cluster_bytes);
    if (!content) co_return fail(Error::system("Could not read qcow2 header", content.error()));
  }
  content->resize(static_cast<std::size_t>(cluster_bytes));
  ImageBegin begin;
  CO_TRY_ASSIGN(begin.header, parse_header(*content, use));
  begin.first_cluster = std::move(*content);
  co_return begin;
}

aio::Task<Result<ImageContent>> read_image(block::Node& file, ImageBegin begin) {
  ImageContent image{.header = std::move(begin.header)};
  CO_TRY_ASSIGN(image.l1, co_await read_l1(file, image.header));
  CO_TRY_ASSIGN(image.extensions, parse_header_extensions(image.header, begin.first_cluster));
  CO_TRY_ASSIGN(image.backing_name, parse_backing_name(image.header, begin.first_cluster));
  if (image.backing_name && image.backing_name->empty()) image.backing_name.reset();
  if (image.header.snapshots > 0) {
    CO_TRY_ASSIGN(image.snapshots, co_await read_snapshots(file, image.header));
  }
  if (const std::optional<BitmapsExtension> extension = image.extensions.bitmaps(image.header)) {
    CO_TRY_ASSIGN(image.bitmaps, co_await read_bitmaps(file, image.header, *extension));
  } else {
    image.has_invalid_bitmaps = image.extensions.find(kExtensionBitmaps) != nullptr;
  }
  co_return image;
}

}  // namespace blockexport::drivers::qcow2
