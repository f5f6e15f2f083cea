#include "http/host_check.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/printable.h"
#include "http/request.h"

namespace blockexport::http {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_literal_address(const std::string& text) {
  in6_addr address{};
  return inet_pton(AF_INET, text.c_str(), &address) == 1 || inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

}  // namespace

Result<> HostCheck::add(std::string_view name) {
  if (name.empty()) return {};
  if (name.size() > kHostNameBytesMax) {
    return fail(fmt::format("The host name '{}' has more than {} bytes", printable(name), kHostNameBytesMax));
  }
  if (names_.size() >= kHostNamesMax) return fail(fmt::format("There are more than {} host names", kHostNamesMax));
  std::string added(name);
  std::ranges::transform(added, added.begin(), lower);
  names_.push_back(std::move(added));
  return {};
}

bool HostCheck::accepts(std::string_view host) const {
  const auto given = host_name(host);
  if (!given || given->empty() || given->size() > kHostNameBytesMax) return false;
  std::string name(*given);
  std::ranges::transform(name, name.begin(), lower);
  return name == "localhost" || is_literal_address(name) || std::ranges::find(names_, name) != names_.end();
}

}  // namespace blockexport::http
