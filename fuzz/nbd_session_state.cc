// Fuzzes the deserialisation of SessionState: a state that is accepted serialises to the same bytes, and is usable.
#include <algorithm>
#include <cstdlib>

#include "export/nbd/wire/request_check.h"
#include "export/nbd/wire/session_state.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blockexport::nbd;
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto state = deserialize(bytes);
  if (!state) return 0;
  if (!std::ranges::equal(serialize(*state), bytes)) std::abort();
  const RequestRules rules(*state);
  if (!rules.check({.flags = 0, .command = 2}).ok()) std::abort();
  return 0;
}
