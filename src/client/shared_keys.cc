// keys.psk: lines "USER:HEXKEY"; '#' begins a comment.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/log.h"
#include "client/credentials.h"
#include "client/tls_files.h"

namespace blockexport::client {
namespace {

constexpr std::size_t kKeyBytesSafe = 16;  // a shorter key can be guessed
constexpr std::size_t kUsersShownMax = 20;

bool is_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
}

}  // namespace

std::vector<SharedKey> parse_shared_keys(std::string_view text, Findings& findings) {
  std::vector<SharedKey> keys;
  std::set<std::string> users;
  std::size_t number = 0;
  for (std::string_view rest = text; !rest.empty();) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with('#')) continue;
    std::size_t colon = line.rfind(':');
    std::string_view hex = colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
    // The line itself is not shown: it may hold a key.
    if (hex.empty() || colon == 0 || hex.size() % 2 != 0 || !is_hex(hex)) {
      findings.fault(kKeys, fmt::format("line {} is not USER:HEXKEY", number));
      continue;
    }
    std::string user(line.substr(0, colon));
    if (hex.size() / 2 < kKeyBytesSafe) {
      findings.warn(kKeys, fmt::format("the key of '{}' has {} bytes; {} are safe", printable(user), hex.size() / 2,
                                       kKeyBytesSafe));
    }
    if (!users.insert(user).second) {
      findings.fault(kKeys, fmt::format("user '{}' is there twice, the first one counts", printable(user)));
    }
    if (keys.size() < kUsersShownMax) findings.fine(kKeys, fmt::format("user '{}'", printable(user)));
    keys.push_back({.user = std::move(user), .key_hex = std::string(hex)});
  }
  if (keys.size() > kUsersShownMax) findings.fine(kKeys, fmt::format("{} users in all", keys.size()));
  if (keys.empty()) findings.fault(kKeys, "has no user in it");
  return keys;
}

std::vector<SharedKey> check_shared_keys(const std::string& directory, Findings& findings) {
  auto file = read_file(directory, kKeys);
  if (!file || !*file) {
    findings.fault(kKeys, file ? "is missing" : file.error().message());
    return {};
  }
  check_mode(directory, kKeys, (*file)->mode, findings);
  std::vector<SharedKey> keys = parse_shared_keys((*file)->text, findings);
  wipe((*file)->text);
  return keys;
}

}  // namespace blockexport::client
