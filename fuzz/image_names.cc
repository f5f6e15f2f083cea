// Fuzzes the translation of names inside images to options: no name may break it, and its answer is one that a driver
// can be opened with.
//
// Input: a byte with the kind of the name in bit 0 and, above it, the length of the header's format; the format; the
// name.
#include "drivers/image_names.h"

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "block/graph.h"
#include "schema/codec.h"

namespace blockexport::drivers {
namespace {

void require(bool promise) {
  if (!promise) std::abort();
}

// The options survive the way to JSON and back, and their lowest file is in them.
void check_options(schema::ImageOptions& named) {
  const auto again = schema::decode<schema::BlockdevOptions>(schema::encode(named.options));
  require(again.has_value());
  require(*again == named.options);
  const schema::BlockdevOptions& lowest = schema::lowest_file(named.options);
  require(block::child_reference(lowest, "file") == nullptr ||
          block::child_reference(lowest, "file")->reference() != nullptr);
  if (named.implies_file) require(lowest.driver() == schema::BlockdevDriver::kFile);
}

void fuzz(const block::ImageReference& reference) {
  auto named = parse_image_name(reference, "dir/image");
  if (!named) return require(!named.error().message().empty());
  check_options(*named);
  if (!named->needs_format) return;
  block::ImageReference probed = reference;
  probed.format = "raw";
  auto complete = parse_image_name(probed, "dir/image");
  require(complete && !complete->needs_format);
}

}  // namespace
}  // namespace blockexport::drivers

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blockexport;
  if (size == 0) return 0;
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t length = static_cast<std::uint8_t>(input[0]) >> 1;
  const bool is_data_file = (input[0] & 1) != 0;
  input.remove_prefix(1);
  const std::string_view format = input.substr(0, length);
  input.remove_prefix(format.size());
  drivers::fuzz({.kind = is_data_file ? block::ReferenceKind::kDataFile : block::ReferenceKind::kBacking,
                 .name = std::string(input),
                 .format = std::string(format)});
  (void)drivers::probe_format(input);
  return 0;
}
