// Fuzzes SuspendedSession from bytes: what is taken back is exactly what would be written.
#include <algorithm>
#include <cstdlib>

#include "export/nbd/transmission/suspended_session.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blockexport::nbd;
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto session = deserialize_session(bytes);
  if (!session) return 0;
  if (!std::ranges::equal(serialize(*session), bytes)) std::abort();
  return 0;
}
