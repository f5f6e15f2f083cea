// TreeBuilder: incremental builder of a json::Value from the tokens of one message.
//
// Owned by a Parser, used from its thread. Keeps one frame per open container on the heap, so nesting needs no call
// stack. Checks no limits: the parser does. After the first error it frees the partial value and ignores further
// tokens.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "json/lexer.h"
#include "json/value.h"

namespace blockexport::json {

// "LINE:COLUMN: JSON parse error, REASON".
Error parse_error(Position position, std::string_view reason);

class TreeBuilder {
 public:
  // The next token of the message; not a stray or oversize one.
  void add(const Token& token);

  // True if the message has an error already.
  bool has_failed() const { return error_.has_value(); }

  // Ends the message: returns its value or its first error, and resets the builder. `end`: the position after the
  // input, for the error of an incomplete message.
  Result<Value> finish(Position end);

  // Discards the message.
  void reset();

 private:
  enum class Expect : std::uint8_t { kItemOrEnd, kItem, kColon, kMemberValue, kSeparator };

  // An open container and what may come next in it. An "item" is an array's value or an object's key.
  struct Frame {
    bool is_object;
    Expect expect = Expect::kItemOrEnd;
    Array array;
    Object object;
    std::string key;

    bool is_closed_by(TokenKind kind) const;
    bool wants_key() const { return is_object && (expect == Expect::kItem || expect == Expect::kItemOrEnd); }
  };

  void take_item(const Token& token);
  void take_value(const Token& token);
  void take_scalar(std::expected<Value, std::string> scalar);
  void take_string(std::string_view token);
  void deliver(Value value);
  void close();
  void fail(std::string_view reason);

  Position position_;  // position of the current token
  std::vector<Frame> frames_;
  std::optional<Value> result_;
  std::optional<Error> error_;
};

}  // namespace blockexport::json
