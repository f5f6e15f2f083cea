// ExportInfo and ExportDirectory: what the handshake needs to know of the exports, and where it asks.
//
// The server implements the directory over its registry; a test over a vector. The handshake asks at the time of each
// option, so an export that is hidden or removed meanwhile is simply not found. Thread: the connection's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "export/nbd/wire/session_state.h"

namespace blockexport::nbd {

struct ExportInfo {
  // Given in order of creation, from 1, never used twice: LIST goes by it, and it tells two exports apart that had the
  // same name one after the other.
  std::uint64_t sequence = 0;
  std::string name;                        // "" is the default export
  std::optional<std::string> description;  // an empty one counts as present
  std::uint64_t size_bytes = 0;
  BlockSizes block_sizes;  // `minimum` is told only to clients that ask for block sizes
  bool read_only = false;
  bool multi_conn = true;
  bool can_flush = true;
  bool can_fua = true;
  bool can_trim = true;
  bool can_write_zeroes = true;
  bool can_fast_zero = true;
  bool can_cache = true;
  bool rotational = false;
  bool is_restricted = false;         // who may see and use it has to be asked (HandshakeStatus::kAuthorize)
  std::vector<ContextInfo> contexts;  // in the order of replies, ids ascending
  void* owner = nullptr;              // whatever the directory wants to find again; never looked into here
};

class ExportDirectory {
 public:
  virtual ~ExportDirectory() = default;

  // The export that new clients may use under `name`, or null. Valid until the next call into the directory.
  virtual const ExportInfo* find(std::string_view name) = 0;

  // The listed export with the smallest sequence greater than `sequence`, or null. Start with 0.
  virtual const ExportInfo* next_after(std::uint64_t sequence) = 0;

  // Why TLS cannot be begun now, where it is required; asked when a client wants to begin it.
  virtual std::optional<std::string> tls_refusal() { return std::nullopt; }
};

// The transmission flags of the export for a client that negotiated `mode`. `payload_filter`: the client may send a
// payload with BLOCK_STATUS, which needs extended headers.
std::uint16_t transmission_flags(const ExportInfo& info, HeaderMode mode, bool payload_filter);

}  // namespace blockexport::nbd
