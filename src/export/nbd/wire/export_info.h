// ExportInfo and ExportDirectory: description of an export for the handshake, and the interface that looks it up.
//
// The server implements the directory over its registry; a test over a vector. The handshake looks up an export at each
// option, so it does not find one that was hidden or removed meanwhile. Thread: the connection's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "export/nbd/wire/session_state.h"

namespace blockexport::nbd {

struct ExportInfo {
  // Numbers in order of creation, from 1, never reused. LIST uses this order, and the number distinguishes two exports
  // that had the same name one after the other.
  std::uint64_t sequence = 0;
  std::string name;                        // "" is the default export
  std::optional<std::string> description;  // an empty one counts as present
  std::uint64_t size_bytes = 0;
  BlockSizes block_sizes;  // `minimum` is sent only to clients that request block sizes
  bool read_only = false;  // then can_trim, can_write_zeroes and can_fast_zero have no effect
  bool multi_conn = true;
  bool can_flush = true;
  bool can_fua = true;
  bool can_trim = true;
  bool can_write_zeroes = true;
  bool can_fast_zero = true;
  bool can_cache = true;
  bool rotational = false;
  // The authorizer decides which clients may see and use it (HandshakeStatus::kAuthorize).
  bool is_restricted = false;
  std::optional<std::vector<std::string>> servers;  // ids of the servers that may show it; nullopt: all
  std::vector<ContextInfo> contexts;                // in the order of replies, ids ascending
  void* owner = nullptr;                            // opaque pointer for the directory
};

class ExportDirectory {
 public:
  virtual ~ExportDirectory() = default;

  // The export that new clients may use under `name`, or null. Valid until the next call into the directory.
  virtual const ExportInfo* find(std::string_view name) = 0;

  // The listed export with the smallest sequence greater than `sequence`, or null. Start with 0.
  virtual const ExportInfo* next_after(std::uint64_t sequence) = 0;

  // The reason why TLS cannot begin now, where it is required; called when a client wants to begin it.
  virtual std::optional<std::string> tls_refusal() { return std::nullopt; }
};

// The transmission flags of the export for a client that negotiated `mode`. `payload_filter`: the client may send a
// payload with BLOCK_STATUS, which needs extended headers.
std::uint16_t transmission_flags(const ExportInfo& info, HeaderMode mode, bool payload_filter);

}  // namespace blockexport::nbd
