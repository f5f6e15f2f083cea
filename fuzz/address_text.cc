// Fuzzes the text form of addresses: no text may break the parser, and the description of what it accepts is a text
// with the same meaning.
//
// Input: one text.
#include "net/address_text.h"

#include <cstdint>
#include <cstdlib>
#include <string>

namespace blockexport::net {
namespace {

void require(bool promise) {
  if (!promise) std::abort();
}

void check(std::string_view text) {
  const Result<SocketAddress> parsed = parse_address(text);
  if (!parsed) {
    require(!parsed.error().message().empty());
    for (char byte : parsed.error().message()) require(static_cast<unsigned char>(byte) >= ' ' && byte != '\x7f');
    return;
  }
  const std::string description = describe(*parsed);
  const Result<SocketAddress> again = parse_address(description);
  // The identifier that stands for every one is longer than its empty text.
  if (!again) return require(description.size() > kAddressTextBytesMax);
  require(parsed->index() == again->index() && describe(*again) == description);
}

}  // namespace
}  // namespace blockexport::net

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  blockexport::net::check({reinterpret_cast<const char*>(data), size});
  return 0;
}
