#include "client/shared_key_users.h"

#include <fmt/format.h>
#include <gnutls/crypto.h>
#include <string.h>

#include <array>

#include "client/gnutls_handles.h"
#include "net/psk_file.h"

namespace blockexport::client {
namespace {

constexpr std::size_t kKeyBytes = 32;

// Removes the first line with its end from `rest`, and returns it.
std::string_view take_line(std::string_view& rest) {
  const std::size_t end = rest.find('\n');
  const std::string_view line = rest.substr(0, end == rest.npos ? rest.size() : end + 1);
  rest.remove_prefix(line.size());
  return line;
}

bool is_of(std::string_view line, std::string_view user) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  const auto parsed = net::parse_psk_line(line);
  return parsed && parsed->user == user;
}

}  // namespace

Result<std::string> make_key_line(const std::string& user) {
  std::array<unsigned char, kKeyBytes> key;
  if (int status = gnutls_rnd(GNUTLS_RND_KEY, key.data(), key.size()); status < 0) {
    return fail(fmt::format("cannot make a key: {}", gnutls_strerror(status)));
  }
  std::string line = fmt::format("{}:{:02x}\n", user, fmt::join(key, ""));
  explicit_bzero(key.data(), key.size());
  return line;
}

std::optional<std::string> find_key_line(std::string_view text, std::string_view user) {
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view line = take_line(rest);
    if (is_of(line, user)) return std::string(line) + (line.ends_with('\n') ? "" : "\n");
  }
  return std::nullopt;
}

std::string with_key_line(std::string_view text, std::string_view user, std::string_view line) {
  std::string result;
  // Reserved, since a reallocation would leave a copy of the secret behind.
  result.reserve(text.size() + line.size() + 1);
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view one = take_line(rest);
    if (!is_of(one, user)) result += one;
  }
  if (!result.empty() && !result.ends_with('\n')) result += '\n';
  result += line;
  return result;
}

}  // namespace blockexport::client
