#include "net/tls_priority.h"

#include <fmt/format.h>

namespace blockexport::net {

Result<GnutlsPriority> make_priority(const std::string& chosen, std::string_view suffix, std::string_view ours) {
  const std::string text = chosen.empty() ? std::string(ours) : chosen + std::string(suffix);
  gnutls_priority_t priority = nullptr;
  const int outcome = gnutls_priority_init(&priority, text.c_str(), nullptr);
  if (outcome < 0)
    return fail(fmt::format("Unable to set TLS session priority {}: {}", text, gnutls_strerror(outcome)));
  return GnutlsPriority(priority);
}

}  // namespace blockexport::net
