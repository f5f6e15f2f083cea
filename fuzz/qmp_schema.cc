// Fuzzes the reading of a daemon's schema: whatever it says, words get some arguments or an error, and a member that
// the words lack never appears.
//
// Input: the schema as JSON, a zero byte, and words as one option text.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "client/monitor/schema_types.h"
#include "json/keyval.h"
#include "json/parser.h"

namespace blockexport::monitor {
namespace {

void require(bool promise) {
  if (!promise) std::abort();
}

void run(std::string_view input) {
  const std::size_t end = input.find('\0');
  if (end == std::string_view::npos) return;
  const auto schema = json::parse(input.substr(0, end));
  const auto words = json::parse_keyval(input.substr(end + 1));
  if (!schema || !words || words->help) return;
  const SchemaTypes types(*schema);
  (void)types.describe("c");
  const auto arguments = types.arguments_of("c", words->options);
  if (!arguments) return;
  require(arguments->size() == words->options.size());
  for (const auto& [name, value] : *arguments) require(words->options.find(name) != nullptr);
}

}  // namespace
}  // namespace blockexport::monitor

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  blockexport::monitor::run({reinterpret_cast<const char*>(data), size});
  return 0;
}
