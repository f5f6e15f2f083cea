#include <algorithm>

#include "aio/task/current.h"
#include "drivers/foreign/foreign_open.h"
#include "drivers/foreign/format/vpc_format.h"
#include "drivers/foreign/map/file_read.h"
#include "drivers/foreign/opened_file.h"

namespace blockexport::drivers::foreign {
namespace {

constexpr std::uint64_t kSectorBytes = 512;
// Bytes of the table that one step of the check reads.
constexpr std::uint64_t kStepBytes = 1u << 20;

std::uint64_t whole_sectors(std::uint64_t bytes) {
  return (bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
}

aio::Task<Result<VpcFooter>> read_footer(const block::Edge& file) {
  auto bytes = co_await read_bytes(file.node(), 0, kVpcFooterBytes);
  if (!bytes) co_return fail(Error::system("Unable to read VHD header", bytes.error()));
  if (has_vpc_cookie(*bytes)) co_return parse_vpc_footer(*bytes, VpcPlace::kBegin);
  // A fixed disk has its footer at the end alone.
  const std::uint64_t file_bytes = whole_sectors(file.node().size_bytes());
  if (file_bytes < kVpcFooterBytes) co_return fail("File too small for a VHD header");
  bytes = co_await read_bytes(file.node(), file_bytes - kVpcFooterBytes, kVpcFooterBytes);
  if (!bytes) co_return fail(Error::system("Unable to read VHD header", bytes.error()));
  co_return parse_vpc_footer(*bytes, VpcPlace::kEnd);
}

// The reference refuses an image that misses blocks at its end.
aio::Task<Result<>> check_blocks(block::Node& file, const BlockTable& table) {
  std::uint64_t end = whole_sectors(table.table_offset + table.table_bytes());
  for (std::uint64_t done = 0; done < table.table_bytes(); done += kStepBytes) {
    co_await aio::next_turn();
    const auto part =
        co_await read_bytes(file, table.table_offset + done, std::min(kStepBytes, table.table_bytes() - done));
    if (!part) co_return fail(Error::system("Error reading pagetable", part.error()));
    end = end_of_vpc_blocks(table, *part, end);
  }
  if (end > whole_sectors(file.size_bytes())) {
    co_return fail("block-vpc: free_data_block_offset points after the end of file. The image has been truncated.");
  }
  co_return Result<>();
}

aio::Task<Result<BlockTable>> read_table(const block::Edge& file, const VpcFooter& footer) {
  const auto bytes = co_await read_bytes(file.node(), footer.dynamic_header_offset, kVpcDynamicHeaderBytes);
  if (!bytes) co_return fail(Error::system("Error reading dynamic VHD header", bytes.error()));
  CO_TRY_ASSIGN(BlockTable table, parse_vpc_dynamic_header(footer, *bytes));
  CO_TRY(co_await check_blocks(file.node(), table));
  co_return table;
}

}  // namespace

aio::Task<OpenedMapped> open_vpc(const schema::BlockdevOptionsGenericFormat& options, block::ChildOpener& children) {
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> file, co_await open_file(options.file, children));
  Result<VpcFooter> footer = co_await read_footer(*file);
  if (!footer && footer.error().message() == "File too large") co_return fail(could_not_open(*file, Errno(EFBIG)));
  if (!footer) co_return fail(std::move(footer).error());
  MappedImage image{.format_name = "vpc", .extents = {}};
  MappedExtent extent{.range = {0, footer->disk_bytes}, .file = file.get()};
  if (footer->is_dynamic) {
    CO_TRY_ASSIGN(extent.table, co_await read_table(*file, *footer));
    if (!footer->is_flat) image.cluster_bytes = extent.table->block_bytes;
  }
  extent.file_has_holes = footer->is_flat;
  if (footer->is_flat) extent.table.reset();
  if (footer->disk_bytes != 0) image.extents.push_back(std::move(extent));
  image.files.push_back(std::move(file));
  co_return std::make_unique<MappedDriver>(std::move(image));
}

}  // namespace blockexport::drivers::foreign
