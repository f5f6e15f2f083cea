// Fuzzes the JSON parser and writer: the split of the input into pieces must not matter, and written text must parse to
// the same value.
//
// Input: a seed byte for the split, then a QMP stream. Small limits are tried too, so that short inputs reach them.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "json/parser.h"
#include "json/writer.h"

namespace blockexport::json {
namespace {

constexpr Limits kSmall{.message_bytes_max = 200, .tokens_max = 50, .nesting_max = 12};

void require(bool promise) {
  if (!promise) std::abort();
}

// Equality except for the only loss of writing: a double of an integral value is written without a point, and is read
// as an integer.
bool reads_back_as(const Value& value, const Value& again) {
  if (const double* number = value.as_double()) {
    if (const std::int64_t* integer = again.as_integer()) return *number == static_cast<double>(*integer);
    if (const std::uint64_t* integer = again.as_unsigned()) return *number == static_cast<double>(*integer);
  }
  if (value.kind() != again.kind()) return false;
  if (const Array* array = value.as_array()) {
    return std::ranges::equal(*array, *again.as_array(), reads_back_as);
  }
  if (const Object* object = value.as_object()) {
    return std::ranges::equal(*object, *again.as_object(), [](const auto& member, const auto& member_again) {
      return member.first == member_again.first && reads_back_as(member.second, member_again.second);
    });
  }
  return value == again;
}

void check_value(const Value& value) {
  const std::string text = to_string(value);
  for (char byte : text) require(byte >= 0x20 && byte < 0x7F);
  auto compact = parse(text);
  require(compact && reads_back_as(value, *compact));
  std::string pretty_text;
  write_pretty(value, pretty_text);
  auto pretty = parse(pretty_text);
  require(pretty && *pretty == *compact);
}

// Appends one line per outcome, in order.
void drain(Parser& parser, std::string& outcomes) {
  while (auto outcome = parser.next()) {
    if (*outcome) {
      check_value(**outcome);
      write(**outcome, outcomes);
    } else {
      outcomes += outcome->error().message();
    }
    outcomes += '\n';
  }
}

std::string whole(std::string_view text, Limits limits) {
  Parser parser(limits);
  std::string outcomes;
  parser.feed(text);
  parser.finish();
  drain(parser, outcomes);
  return outcomes;
}

std::string cut_up(std::string_view text, Limits limits, std::uint32_t seed) {
  Parser parser(limits);
  std::string outcomes;
  while (!text.empty()) {
    seed = seed * 1664525 + 1013904223;
    const std::string_view piece = text.substr(0, 1 + (seed >> 24) % 9);
    parser.feed(piece);
    text.remove_prefix(piece.size());
    // Sometimes the messages are left to accumulate.
    if ((seed & 0x800000) == 0) drain(parser, outcomes);
  }
  parser.finish();
  drain(parser, outcomes);
  return outcomes;
}

}  // namespace
}  // namespace blockexport::json

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blockexport::json;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  for (const Limits& limits : {Limits{}, kSmall}) {
    require(whole(text, limits) == cut_up(text, limits, data[0]));
  }
  return 0;
}
