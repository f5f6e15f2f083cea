// Bans: the clients that an administrator has banned for a time, on all NBD servers of the process.
//
// A client is banned by its identity where it has proven one, else by its group of peers: clients without an identity
// cannot be told apart otherwise. Bans are not stored: they end with their time or with the process. Owned by the
// control layer; outlives the servers. Thread: the control reactor.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace blockexport::nbd {

// Bans at a time, and the longest.
inline constexpr std::size_t kBansMax = 4096;
inline constexpr std::uint32_t kBanSecondsMax = 7 * 24 * 3600;

class Bans {
 public:
  enum class By : std::uint8_t {
    kIdentity,   // as exports::ClientDescription::identity
    kPeerGroup,  // as net::describe(PeerGroup)
  };

  // Bans until `until_ns`, or for longer if there is such a ban already. Errors: too many bans.
  Result<> add(By by, std::string name, std::uint64_t until_ns, std::uint64_t now_ns);
  // The rest of the time for which a client is banned; nothing when it is not. `identity`: empty when it has proven
  // none.
  std::optional<std::uint64_t> rest_ns(std::string_view identity, std::string_view peer_group,
                                       std::uint64_t now_ns) const;
  bool empty() const { return until_ns_.empty(); }

 private:
  using Key = std::pair<By, std::string>;
  std::map<Key, std::uint64_t> until_ns_;
};

}  // namespace blockexport::nbd
