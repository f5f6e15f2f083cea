// Fuzzes images of the format VHDX (foreign_image.h).
//
// Input: structures, each at the place that the format has for it: 512 bytes of each header, 1 KiB of the region table,
// 4 KiB of the log, 1 KiB of the block allocation table, 1 KiB of the metadata table, and the items of the metadata.
// The others of an image of 5 MiB are zeros, so that inputs stay small. The checksums of headers and region table are
// right.
#include <algorithm>

#include "drivers/foreign/testing/sample_images.h"
#include "foreign_image.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blockexport::drivers::foreign;
  constexpr std::size_t kMiB = 1u << 20;
  constexpr std::size_t kHeaderBytes = 4096;
  constexpr std::size_t kTableBytes = 64u << 10;
  struct Part {
    std::size_t offset;
    std::size_t bytes;
  };
  constexpr Part kParts[] = {{64u << 10, 512},
                             {128u << 10, 512},
                             {192u << 10, 1024},
                             {kMiB, 4096},
                             {2 * kMiB, 1024},
                             {3 * kMiB, 1024},
                             {3 * kMiB + kTableBytes, 1024}};
  ImageBytes image(5 * kMiB);
  image.text(0, "vhdxfile");
  std::span<const std::byte> rest = std::as_bytes(std::span(data, size));
  for (const Part& part : kParts) {
    const std::size_t bytes = std::min(part.bytes, rest.size());
    image.copy(part.offset, rest.first(bytes));
    rest = rest.subspan(bytes);
  }
  set_vhdx_checksum(image, 64u << 10, kHeaderBytes);
  set_vhdx_checksum(image, 128u << 10, kHeaderBytes);
  set_vhdx_checksum(image, 192u << 10, kTableBytes);
  fuzz_image(Format::kVhdx, image.span());
  return 0;
}
