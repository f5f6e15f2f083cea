// The file runtime.json of any content: errors have places inside of the file; an accepted state is written to a text
// which is read as the same state.
#include "configuration/runtime_state.h"

#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using blockexport::configuration::Findings;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Findings findings;
  const auto state = blockexport::configuration::parse_runtime_state("runtime.json", text, findings);
  for (const auto& finding : findings.list()) {
    if (finding.place.line == 0 || finding.message.empty()) std::abort();
  }
  if (!findings.empty()) return 0;
  const std::string written = blockexport::configuration::text_of(state);
  const auto again = blockexport::configuration::parse_runtime_state("runtime.json", written, findings);
  if (!findings.empty() || blockexport::configuration::text_of(again) != written) std::abort();
  return 0;
}
