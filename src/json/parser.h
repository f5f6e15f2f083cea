// Parser: complete JSON documents out of a stream of bytes, in any segmentation, with the errors and the recovery that
// QMP clients rely on; and parse() for one document that is there as a whole.
//
// Memory is bounded by Limits: a document that exceeds one is an error, and reading goes on behind it. Nothing of the
// input is looked at twice. Thread: one at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <expected>
#include <optional>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "json/lexer.h"
#include "json/value.h"

namespace blockexport::json {

struct Limits {
  std::size_t message_bytes_max = 64u << 20;
  std::size_t tokens_max = 1u << 21;
  std::size_t nesting_max = 1024;
};

class Parser {
 public:
  explicit Parser(Limits limits = {}) : limits_(limits) {}

  // Takes bytes; what they complete is fetched with next().
  void feed(std::string_view bytes);

  // The next complete document, or the next error, in the order of the input.
  std::optional<std::expected<Value, Error>> next();

  // The end of the input: an incomplete document is an error.
  void finish();

  // Forgets everything that was fed.
  void reset();

 private:
  void on_token(Token token);
  void complete();
  void error(std::string message);

  Limits limits_;
  Lexer lexer_;
  std::vector<Token> tokens_;
  std::size_t token_bytes_ = 0;
  std::int64_t open_objects_ = 0;
  std::int64_t open_arrays_ = 0;
  std::deque<std::expected<Value, Error>> results_;
};

// Exactly one document, with nothing but white space around it.
Result<Value> parse(std::string_view text);

}  // namespace blockexport::json
