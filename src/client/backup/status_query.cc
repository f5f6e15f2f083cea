#include <fmt/format.h>

#include "client/backup/export_client.h"

namespace blockexport::backup {

Result<> check_status(const StatusQuery& query, const std::vector<std::string>& contexts) {
  if (query.error != 0) {
    return fail(Error::system(
        fmt::format("the server could not tell the block status of {} bytes at offset {}", query.length, query.offset),
        Errno(query.error)));
  }
  for (std::size_t i = 0; i < contexts.size(); ++i) TRY(query.contexts[i].check(contexts[i]));
  return {};
}

Result<> query_status(ExportClient& client, StatusQuery& query, const std::vector<std::string>& contexts,
                      int timeout_ms) {
  TRY(client.start(query));
  while (!query.has_ended) TRY(client.wait(timeout_ms));
  return check_status(query, contexts);
}

}  // namespace blockexport::backup
