// Fuzzes images of the format vmdk (foreign_image.h).
//
// Input: the content of the image's file.
// A descriptor is such a file too; the extents and the parent that it names are refused.
#include "foreign_image.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blockexport::drivers::foreign;
  fuzz_image(Format::kVmdk, std::as_bytes(std::span(data, size)));
  return 0;
}
