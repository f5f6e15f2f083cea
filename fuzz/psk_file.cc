// Fuzzes the parser of pre-shared key files: no content may break it, and every user that it finds has a key of whole
// bytes.
//
// Input: the content of the file.
#include "net/psk_file.h"

#include <cstdint>
#include <cstdlib>

namespace blockexport::net {
namespace {

void require(bool promise) {
  if (!promise) std::abort();
}

void fuzz(std::string_view content) {
  PskFile file{SecretBytes(content)};
  // Any text before a colon may be the name of a user.
  std::size_t tried = 0;
  for (std::size_t begin = 0; begin < content.size() && tried < 64; ++tried) {
    const std::size_t colon = content.find(':', begin);
    if (colon == std::string_view::npos) break;
    auto digits = file.digits_of(content.substr(begin, colon - begin));
    if (digits) {
      auto key = from_hexadecimal(*digits);
      require(key && key->size() * 2 == digits->size() && !key->empty() && key->size() <= kPskKeyBytesMax);
    }
    const std::size_t end = content.find('\n', colon);
    begin = end == std::string_view::npos ? content.size() : end + 1;
  }
  require(file.user_count() <= content.size() / 4);
}

}  // namespace
}  // namespace blockexport::net

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  blockexport::net::fuzz({reinterpret_cast<const char*>(data), size});
  return 0;
}
