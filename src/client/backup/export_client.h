// ExportClient: interface to an NBD export that is read: its contexts, sizes, block status and data.
//
// connect_export() gives the implementation on libnbd, or an error in a build without it; tests have one in memory.
// Requests are asynchronous and all progress happens in wait(), on the calling thread. The caller keeps a request and
// its memory in place until it has ended or the client is destroyed. Thread: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "client/backup/block_status.h"

namespace blockexport::backup {

inline constexpr unsigned kConnectionsMax = 64;
// Time for a connection to be made, TLS included, and for an option to be answered.
inline constexpr unsigned kConnectSecondsMax = 30;
// Longest time that --timeout may let a server be silent.
inline constexpr unsigned kTimeoutSecondsMax = 86400;
// Contexts that a server may offer, and the length of each name.
inline constexpr std::size_t kOfferedContextsMax = 1024;
inline constexpr std::size_t kContextNameBytesMax = 4096;
// Bytes of one query for block status, with and without 64-bit headers. The second is a multiple of 32 MiB, so that
// it keeps every alignment that a server may ask for.
inline constexpr std::uint64_t kWideStatusBytesMax = std::uint64_t{1} << 40;
inline constexpr std::uint64_t kStatusBytesMax = (std::uint64_t{1} << 32) - (std::uint64_t{32} << 20);

struct ExportRead {
  std::uint64_t offset = 0;
  std::span<std::byte> bytes;
  bool has_ended = false;
  int error = 0;  // errno; valid when the read has ended
};

struct StatusQuery {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::vector<ContextStatus> contexts;  // in the order of select(); set by the client
  bool has_ended = false;
  int error = 0;
};

struct ExportInformation {
  std::string name;
  std::uint64_t size_bytes = 0;
  std::uint64_t read_bytes_max = 0;    // of one read request
  std::uint64_t status_bytes_max = 0;  // of one query for block status
  bool allows_multi_conn = false;
};

class ExportClient {
 public:
  virtual ~ExportClient() = default;

  // The contexts that the server offers for the export.
  virtual const std::vector<std::string>& offered_contexts() const = 0;

  // Opens the export with these contexts. Blocks. Error: the server refuses the export, or has not all contexts.
  virtual Result<> select(const std::vector<std::string>& contexts) = 0;

  // Valid after select().
  virtual const ExportInformation& information() const = 0;

  // Makes further connections until there are `count`, 1 to kConnectionsMax. Blocks. Error: one cannot be made, or
  // shows another size.
  virtual Result<> connect_more(unsigned count) = 0;

  // Starts a read of at most read_bytes_max bytes, on the connection with the fewest requests.
  virtual Result<> start(ExportRead& read) = 0;
  // Starts a query of at most status_bytes_max bytes.
  virtual Result<> start(StatusQuery& query) = 0;

  // Waits until at least one request has ended. Error: a connection broke, or the server sent nothing for
  // `timeout_ms`.
  virtual Result<> wait(int timeout_ms) = 0;
};

// Connects to the server of an NBD URI, and asks for the contexts of the export. Blocks.
Result<std::unique_ptr<ExportClient>> connect_export(const std::string& uri);

// Queries the status of a range and waits for it; `query.contexts` are complete and checked then. Error: the server
// failed, `describe` names the range.
Result<> query_status(ExportClient& client, StatusQuery& query, const std::vector<std::string>& contexts,
                      int timeout_ms);
// Checks a query that has ended.
Result<> check_status(const StatusQuery& query, const std::vector<std::string>& contexts);

}  // namespace blockexport::backup
