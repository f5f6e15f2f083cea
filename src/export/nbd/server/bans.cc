#include "export/nbd/server/bans.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace blockexport::nbd {

Result<> Bans::add(By by, std::string name, std::uint64_t until_ns, std::uint64_t now_ns) {
  std::erase_if(until_ns_, [now_ns](const auto& ban) { return ban.second <= now_ns; });
  const Key key(by, std::move(name));
  if (!until_ns_.contains(key) && until_ns_.size() >= kBansMax) {
    return fail(fmt::format("There are {} banned clients already", kBansMax));
  }
  std::uint64_t& until = until_ns_[key];
  until = std::max(until, until_ns);
  return {};
}

std::optional<std::uint64_t> Bans::rest_ns(std::string_view identity, std::string_view peer_group,
                                           std::uint64_t now_ns) const {
  if (empty()) return std::nullopt;
  const auto found = until_ns_.find(identity.empty() ? Key(By::kPeerGroup, std::string(peer_group))
                                                     : Key(By::kIdentity, std::string(identity)));
  if (found == until_ns_.end() || found->second <= now_ns) return std::nullopt;
  return found->second - now_ns;
}

}  // namespace blockexport::nbd
