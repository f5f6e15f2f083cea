// Fuzzes the parsers of the qcow2 format: no bytes may break them, and every accepted value encodes to bytes that parse
// to the same value.
//
// Input: the first byte chooses the parser; 0: header, extensions and names of the first cluster; 1: snapshot table;
// 2: bitmap directory.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "drivers/qcow2/format/bitmap_directory.h"
#include "drivers/qcow2/format/header.h"
#include "drivers/qcow2/format/header_extensions.h"
#include "drivers/qcow2/format/snapshot_table.h"

namespace blockexport::drivers::qcow2 {
namespace {

using Bytes = std::span<const std::byte>;

void require(bool promise) {
  if (!promise) std::abort();
}

void fuzz_first_cluster(Bytes bytes) {
  auto header = parse_header(bytes, HeaderUse::kCheck);
  if (!header) return;
  const auto again = parse_header(encode_header(*header), HeaderUse::kCheck);
  require(again && *again == *header);
  const auto name = parse_backing_name(*header, bytes);
  const auto extensions = parse_header_extensions(*header, bytes);
  if (!name || !extensions) return;
  extensions->bitmaps(*header);
  const std::string kept = name->value_or("");
  const auto begin = encode_file_begin(*header, *extensions, kept);
  if (!begin) return;
  require(begin->size() <= header->cluster_bytes());
  require(parse_header(*begin, HeaderUse::kCheck).value() == *header);
  require(parse_header_extensions(*header, *begin).value() == *extensions);
  require(parse_backing_name(*header, *begin).value().value_or("") == kept);
}

void fuzz_snapshots(Bytes bytes) {
  if (bytes.empty()) return;
  const Header header{.size_bytes = 1u << 30, .snapshots = std::to_integer<std::uint32_t>(bytes[0])};
  bytes = bytes.subspan(1);
  const bool is_whole = has_whole_snapshot_table(header, bytes);
  const auto table = parse_snapshot_table(header, bytes);
  if (!table) return;
  require(is_whole && table->snapshots.size() == header.snapshots && table->table_bytes <= bytes.size());
  const auto again = parse_snapshot_table(header, encode_snapshot_table(table->snapshots));
  require(again && again->snapshots == table->snapshots);
}

void fuzz_bitmaps(Bytes bytes) {
  if (bytes.empty()) return;
  const Header header{.size_bytes = 1u << 30};
  const BitmapsExtension extension{.bitmaps = std::to_integer<std::uint32_t>(bytes[0])};
  const auto bitmaps = parse_bitmap_directory(header, extension, bytes.subspan(1));
  if (!bitmaps) return;
  require(bitmaps->size() == extension.bitmaps);
  const auto again = parse_bitmap_directory(header, extension, encode_bitmap_directory(*bitmaps));
  require(again && *again == *bitmaps);
}

}  // namespace
}  // namespace blockexport::drivers::qcow2

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blockexport::drivers::qcow2;
  if (size == 0) return 0;
  const auto bytes = std::as_bytes(std::span(data, size));
  const Bytes input = bytes.subspan(1);
  switch (std::to_integer<unsigned>(bytes[0]) % 3) {
    case 0:
      fuzz_first_cluster(input);
      break;
    case 1:
      fuzz_snapshots(input);
      break;
    default:
      fuzz_bitmaps(input);
  }
  return 0;
}
