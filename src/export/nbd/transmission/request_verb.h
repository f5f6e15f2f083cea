// verb_of(): the verb of the block layer for a request of NBD. Pure function; any thread.
#pragma once

#include <optional>

#include "export/engine/block_request.h"
#include "export/nbd/wire/wire_codec.h"

namespace blockexport::nbd {

// Nothing for DISC, and for a number that is no command.
constexpr std::optional<exports::Verb> verb_of(const Request& request) {
  using exports::Verb;
  switch (static_cast<Command>(request.command)) {
    case Command::kRead:
      return Verb::kRead;
    case Command::kWrite:
      return Verb::kWrite;
    case Command::kFlush:
      return Verb::kFlush;
    case Command::kTrim:
      return Verb::kDiscard;
    case Command::kCache:
      return Verb::kPrefetch;
    case Command::kWriteZeroes:
      return Verb::kWriteZeroes;
    case Command::kBlockStatus:
      return Verb::kExtents;
    case Command::kDisconnect:
      break;
  }
  return std::nullopt;
}

}  // namespace blockexport::nbd
