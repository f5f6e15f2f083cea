// Fuzzes the QMP parser: any bytes, in any pieces, give the same documents and errors, within the limits; and what was
// parsed can be written and parsed again.
//
// Input: one byte of piece size, then what the client sends.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "json/parser.h"
#include "json/writer.h"

namespace blockexport::json {
namespace {

// Small ones, so that inputs of a few hundred bytes reach them.
constexpr Limits kLimits{.message_bytes_max = 4096, .tokens_max = 512, .nesting_max = 32};

void require(bool promise) {
  if (!promise) std::abort();
}

// Each document as it is written, each error as its text.
std::vector<std::string> play(std::string_view input, std::size_t piece_bytes) {
  Parser parser(kLimits);
  std::vector<std::string> results;
  auto take_results = [&] {
    while (auto result = parser.next()) results.push_back(*result ? to_string(**result) : result->error().message());
  };
  for (std::size_t done = 0; done < input.size(); done += piece_bytes) {
    parser.feed(input.substr(done, piece_bytes));
    take_results();
  }
  parser.finish();
  take_results();
  return results;
}

}  // namespace
}  // namespace blockexport::json

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blockexport::json;
  if (size < 1) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  require(play(input, input.size() + 1) == play(input, data[0] + std::size_t{1}));
  if (auto value = parse(input)) {
    std::string text = to_string(*value);
    auto again = parse(text);
    require(again.has_value() && to_string(*again) == text);
  }
  return 0;
}
