// Fuzzes images of the format VHD (foreign_image.h).
//
// Input: the content of the image's file. The checksum of the footer, at the begin or at the end, is set right unless
// the first byte is 0: else nothing but the checksum would be tested.
#include "drivers/foreign/testing/sample_images.h"
#include "foreign_image.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blockexport::drivers::foreign;
  ImageBytes image;
  image.copy(0, std::as_bytes(std::span(data, size)));
  constexpr std::size_t kFooterBytes = 512;
  if (size >= kFooterBytes && data[0] != 0) {
    set_vpc_checksum(image, 0);
    if (size >= 2 * kFooterBytes) set_vpc_checksum(image, size - kFooterBytes);
  }
  fuzz_image(Format::kVpc, image.span());
  return 0;
}
