// Fuzzes the parser of LUKS headers: what it accepts keeps every promise of crypto/luks_header.h.
//
// Input: a byte that selects whether the header is detached, and the header's bytes.
#include "crypto/luks_header.h"

#include <cstdint>
#include <cstdlib>

namespace blockexport::crypto {
namespace {

void require(bool promise) {
  if (!promise) std::abort();
}

void fuzz(LuksPlacement placement, std::span<const std::byte> bytes) {
  const auto parsed = parse_luks_header(bytes, placement);
  if (!parsed) return require(!parsed.error().message().empty());
  require(check_spec(parsed->cipher).has_value());
  require(parsed->key_bytes() > 0 && parsed->key_bytes() <= 64);
  require(check_luks_iterations(*parsed).has_value());
  require(parsed->digest_iterations > 0);
  if (placement == LuksPlacement::kBeforeData) require(parsed->payload_offset() >= luks_header_area_bytes(*parsed));
  for (std::size_t i = 0; i < kLuksSlots; ++i) {
    require(parsed->material_offset(i) >= kLuksHeaderBytes);
    require(parsed->slots[i].stripes == kLuksStripes);
    require(!parsed->slots[i].active || parsed->slots[i].iterations > 0);
  }
  const auto again = parse_luks_header(encode_luks_header(*parsed), placement);
  require(again && *again == *parsed);
}

}  // namespace
}  // namespace blockexport::crypto

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blockexport::crypto;
  if (size < 1) return 0;
  const auto placement = (data[0] & 1) != 0 ? LuksPlacement::kDetached : LuksPlacement::kBeforeData;
  fuzz(placement, {reinterpret_cast<const std::byte*>(data + 1), size - 1});
  return 0;
}
