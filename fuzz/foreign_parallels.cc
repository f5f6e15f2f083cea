// Fuzzes images of the format parallels (foreign_image.h).
//
// Input: the content of the image's file.
#include "foreign_image.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blockexport::drivers::foreign;
  fuzz_image(Format::kParallels, std::as_bytes(std::span(data, size)));
  return 0;
}
