#include <fmt/format.h>

#include <algorithm>

#include "aio/task/current.h"
#include "drivers/foreign/foreign_open.h"
#include "drivers/foreign/format/vhdx_format.h"
#include "drivers/foreign/map/file_read.h"
#include "drivers/foreign/opened_file.h"

namespace blockexport::drivers::foreign {
namespace {

constexpr std::uint64_t kSectorBytes = 512;
constexpr std::uint64_t kItemBytes = 8;
// Blocks that one step of the check covers.
constexpr std::uint64_t kStepBlocks = 4096;

struct Opened {
  VhdxRegions regions;
  VhdxDisk disk;
};

class VhdxOpening {
 public:
  explicit VhdxOpening(block::Edge& edge) : edge_(edge) {}

  aio::Task<Result<Opened>> open() {
    CO_TRY_ASSIGN(const VhdxHeader header, co_await read_header());
    CO_TRY(co_await check_log(header));
    Opened opened;
    CO_TRY_ASSIGN(const Bytes table, co_await read(kVhdxRegionTableOffset, kVhdxTableBytes));
    CO_TRY_ASSIGN(opened.regions, told(parse_vhdx_regions(header, table)));
    CO_TRY_ASSIGN(opened.disk, co_await read_disk(opened.regions.metadata.offset));
    CO_TRY(co_await check_blocks(opened));
    co_return opened;
  }

 private:
  using Bytes = std::vector<std::byte>;

  template <class T>
  Result<T> told(std::expected<T, Errno> result) const {
    if (!result) return fail(could_not_open(edge_, result.error()));
    return std::move(*result);
  }
  Result<> told(IoResult result) const {
    if (!result) return fail(could_not_open(edge_, result.error()));
    return {};
  }
  aio::Task<Result<Bytes>> read(std::uint64_t offset, std::uint64_t bytes) {
    co_return told(co_await read_bytes(edge_.node(), offset, bytes));
  }

  aio::Task<Result<VhdxHeader>> read_header() {
    CO_TRY_ASSIGN(const Bytes begin, co_await read(0, kSectorBytes));
    if (!is_vhdx(begin)) co_return fail(could_not_open(edge_, Errno(EINVAL)));
    CO_TRY_ASSIGN(const Bytes first, co_await read(kVhdxHeaderOffsets[0], kVhdxHeaderBytes));
    CO_TRY_ASSIGN(const Bytes second, co_await read(kVhdxHeaderOffsets[1], kVhdxHeaderBytes));
    const std::optional<VhdxHeader> header = choose_vhdx_header(first, second);
    if (!header) co_return fail("No valid VHDX header found");
    co_return *header;
  }

  aio::Task<Result<>> check_log(const VhdxHeader& header) {
    CO_TRY(told(check_vhdx_log(header)));
    if (!header.has_log() || header.log_bytes == 0) co_return Result<>();
    if (header.log_bytes > kVhdxLogBytesMax) {
      co_return fail(fmt::format("The log of the image has more than {} bytes", kVhdxLogBytesMax));
    }
    CO_TRY_ASSIGN(const Bytes log, co_await read(header.log_offset, header.log_bytes));
    if (!has_vhdx_log_entry(header, log)) co_return Result<>();
    const std::string filename = edge_.node().driver().filename();
    co_return fail(Error(fmt::format("VHDX image file '{}' opened read-only, but contains a log that needs to be "
                                     "replayed",
                                     filename))
                       .with_hint(fmt::format("To replay the log, run:\nqemu-img check -r all '{}'", filename)));
  }

  aio::Task<Result<VhdxDisk>> read_disk(std::uint64_t metadata) {
    CO_TRY_ASSIGN(const Bytes bytes, co_await read(metadata, kVhdxTableBytes));
    CO_TRY_ASSIGN(const VhdxItems items, told(parse_vhdx_items(bytes)));
    // Offsets that reach past the end of all files read nothing.
    if (metadata > INT64_MAX - UINT32_MAX - kItemBytes) co_return fail(could_not_open(edge_, Errno(EIO)));
    CO_TRY_ASSIGN(const Bytes parameters, co_await read(metadata + items.parameters.offset, kItemBytes));
    CO_TRY_ASSIGN(const Bytes disk_size, co_await read(metadata + items.disk_size.offset, kItemBytes));
    CO_TRY_ASSIGN(const Bytes sector_size, co_await read(metadata + items.sector_size.offset, kItemBytes));
    co_return told(parse_vhdx_disk(parameters, disk_size, sector_size));
  }

  // The reference refuses an image with a block that is not in the file, or in another structure.
  aio::Task<Result<>> check_blocks(const Opened& opened) {
    const BlockTable table = opened.disk.table(opened.regions);
    CO_TRY(told(check_vhdx_table(table, opened.regions)));
    const std::uint64_t file_bytes = (edge_.node().size_bytes() + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
    const std::uint64_t count = std::min(table.block_count, kVhdxCheckedTableBytesMax / table.entry_bytes());
    TablePiece known;
    Bytes bytes;
    for (std::uint64_t block = 0; block < count; ++block) {
      if (block % kStepBlocks == 0) co_await aio::next_turn();
      const std::optional<TablePiece> piece = piece_of(table, block);
      if (bytes.empty() || piece->number != known.number) {
        known = *piece;
        CO_TRY_ASSIGN(bytes, co_await read(piece->offset, piece->bytes));
      }
      const BlockPlace place = decode_entry(table, bytes, piece->entry_offset);
      if (place.kind != BlockKind::kData) continue;
      const std::uint64_t rest = opened.disk.disk_bytes - block * table.block_bytes;
      if (!is_vhdx_block_valid(opened.regions, place.offset, table.block_bytes, std::min(rest, table.block_bytes),
                               file_bytes)) {
        co_return fail(could_not_open(edge_, Errno(EINVAL)));
      }
    }
    co_return Result<>();
  }

  block::Edge& edge_;
};

}  // namespace

aio::Task<OpenedMapped> open_vhdx(const schema::BlockdevOptionsGenericFormat& options, block::ChildOpener& children) {
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> file, co_await open_file(options.file, children));
  VhdxOpening opening(*file);
  CO_TRY_ASSIGN(const Opened opened, co_await opening.open());
  MappedImage image{.format_name = "vhdx",
                    .extents = {},
                    .request_alignment = kSectorBytes,
                    .cluster_bytes = opened.disk.block_bytes};
  image.extents.push_back(
      {.range = {0, opened.disk.disk_bytes}, .file = file.get(), .table = opened.disk.table(opened.regions)});
  image.files.push_back(std::move(file));
  co_return std::make_unique<MappedDriver>(std::move(image));
}

}  // namespace blockexport::drivers::foreign
