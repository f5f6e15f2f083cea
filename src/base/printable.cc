#include "base/printable.h"

namespace blockexport {

void append_printable(std::string& out, std::string_view text, bool keep_newlines) {
  constexpr char kHex[] = "0123456789abcdef";
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    bool control = byte < 0x20 || byte == 0x7f;
    if (!control || (keep_newlines && c == '\n')) {
      out += c;
    } else {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
}

std::string printable(std::string_view text, std::size_t limit) {
  std::string out;
  append_printable(out, text.substr(0, limit), false);
  if (text.size() > limit) out += "...";
  return out;
}

}  // namespace blockexport
