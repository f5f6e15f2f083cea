#include "client/image/map_verb.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "base/print.h"
#include "base/printable.h"
#include "client/image/image_graph.h"
#include "client/image/place_search.h"

namespace blockexport::image {
namespace {

constexpr std::size_t kNameShownBytesMax = 4096;
// One query; longer runs are joined.
constexpr std::uint64_t kAskedBytesMax = 1u << 30;

// As "%#-16x" of C: without a prefix for 0.
std::string column(std::uint64_t number) {
  return fmt::format("{:<16}", number == 0 ? "0" : fmt::format("{:#x}", number));
}

class MapPrinter {
 public:
  explicit MapPrinter(bool is_json) : is_json_(is_json) {
    print(stdout, "{}", is_json ? "[" : "Offset          Length          Mapped to       File\n");
  }
  Result<> add(const PlacedExtent& extent) {
    if (is_json_) {
      add_json(extent);
    } else if (extent.is_data && !extent.is_zero) {
      if (!extent.offset) return fail("File contains external, encrypted or compressed clusters.");
      print(stdout, "{}{}{}{}\n", column(extent.start), column(extent.length), column(*extent.offset),
            printable(extent.file, kNameShownBytesMax));
    }
    return {};
  }
  void finish() {
    if (is_json_) print(stdout, "]\n");
  }

 private:
  void add_json(const PlacedExtent& extent) {
    print(stdout,
          "{}{{ \"start\": {}, \"length\": {}, \"depth\": {}, \"present\": {}, \"zero\": {}, \"data\": {}, "
          "\"compressed\": {}",
          is_first_ ? "" : ",\n", extent.start, extent.length, extent.depth, extent.is_present, extent.is_zero,
          extent.is_data, extent.is_compressed);
    if (extent.offset) print(stdout, ", \"offset\": {}", *extent.offset);
    print(stdout, "}}");
    is_first_ = false;
  }

  bool is_json_;
  bool is_first_ = true;
};

}  // namespace

Result<> print_map(const ImageOptions& options) {
  const Access access = options.force_share ? Access::kReadShared : Access::kRead;
  TRY_ASSIGN(const auto images, ImageGraph::create(options.objects));
  TRY_ASSIGN(block::Node* const image, images->open_image(options.image, access, Backing::kNamed));
  const std::uint64_t begin = std::min(options.start_offset, image->size_bytes());
  const std::uint64_t end = begin + std::min(options.length_max, image->size_bytes() - begin);
  MapPrinter printer(options.wants_json());
  PlacedExtent last;
  for (std::uint64_t offset = begin; offset < end;) {
    TRY_ASSIGN(const PlacedExtent extent,
               images->run(find_place(*image, {offset, std::min(end - offset, kAskedBytesMax)})));
    offset += extent.length;
    if (last.length != 0 && last.continues_in(extent)) {
      last.length += extent.length;
      continue;
    }
    if (last.length != 0) TRY(printer.add(last));
    last = extent;
    // Nobody reads what is printed, or the disk is full: main() reports it.
    if (std::ferror(stdout) != 0) return {};
  }
  if (last.length != 0) TRY(printer.add(last));
  printer.finish();
  return {};
}

}  // namespace blockexport::image
