#include "net/psk_file.h"

namespace blockexport::net {
namespace {

int digit_value(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

bool are_digits(std::string_view text, std::size_t bytes_max) {
  if (text.empty() || text.size() % 2 != 0 || text.size() > 2 * bytes_max) return false;
  for (char digit : text) {
    if (digit_value(digit) < 0) return false;
  }
  return true;
}

void append_bytes(std::string_view digits, auto append) {
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    append(static_cast<unsigned char>(digit_value(digits[i]) << 4 | digit_value(digits[i + 1])));
  }
}

bool is_same(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]);
  }
  return difference == 0;
}

}  // namespace

std::optional<PskLine> parse_psk_line(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  std::string_view name = line.substr(0, colon);
  const std::string_view digits = line.substr(colon + 1);
  if (!are_digits(digits, kPskKeyBytesMax)) return std::nullopt;
  if (name.front() != '#') {
    if (name.size() > kPskUserBytesMax) return std::nullopt;
    return PskLine{.user = std::string(name), .digits = digits};
  }
  name.remove_prefix(1);
  if (!are_digits(name, kPskUserBytesMax)) return std::nullopt;
  PskLine found{.user = {}, .digits = digits};
  append_bytes(name, [&](unsigned char byte) { found.user.push_back(static_cast<char>(byte)); });
  return found;
}

PskFile::PskFile(SecretBytes content) : content_(std::move(content)) {
  std::string_view rest = content_.text();
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    if (auto line = parse_psk_line(rest.substr(0, end))) users_.push_back(std::move(*line));
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  }
}

std::optional<std::string_view> PskFile::digits_of(std::string_view user) const {
  const PskLine* found = nullptr;
  for (const PskLine& one : users_) {
    const bool same = is_same(one.user, user);
    if (same && found == nullptr) found = &one;
  }
  if (found == nullptr) return std::nullopt;
  return found->digits;
}

std::optional<SecretBytes> from_hexadecimal(std::string_view digits) {
  if (!are_digits(digits, kPskKeyBytesMax)) return std::nullopt;
  SecretBytes bytes(digits.size() / 2);
  std::size_t filled = 0;
  append_bytes(digits, [&](unsigned char byte) { bytes.bytes()[filled++] = static_cast<std::byte>(byte); });
  return bytes;
}

}  // namespace blockexport::net
