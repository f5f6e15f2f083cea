// Check of keys.psk: parses it line by line like a server, and reports the lines that a server ignores.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/printable.h"
#include "client/credentials.h"
#include "client/tls_files.h"
#include "net/psk_file.h"

namespace blockexport::client {
namespace {

constexpr std::size_t kKeyBytesSafe = 16;  // shorter keys can be guessed
constexpr std::size_t kUsersShownMax = 20;

}  // namespace

std::vector<SharedKey> parse_shared_keys(std::string_view text, Findings& findings) {
  std::vector<SharedKey> keys;
  std::set<std::string> users;
  std::size_t number = 0;
  for (std::string_view rest = text; !rest.empty();) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    ++number;
    auto parsed = net::parse_psk_line(line);
    if (!parsed && (line.empty() || line == "\r" || line.starts_with('#'))) continue;
    // The message does not show the line, which may hold a key.
    if (!parsed) {
      findings.fault(kKeys, fmt::format("line {} is not USER:HEXKEY", number));
      continue;
    }
    std::string user = std::move(parsed->user);
    const std::string_view hex = parsed->digits;
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
  check_secret_file(directory, kKeys, **file, findings);
  std::vector<SharedKey> keys = parse_shared_keys((*file)->text, findings);
  wipe((*file)->text);
  return keys;
}

}  // namespace blockexport::client
