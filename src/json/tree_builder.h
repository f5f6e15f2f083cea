// TreeBuilder: the tokens of one message into its Value, as they come.
//
// Owned by a Parser, used from its thread. Keeps one frame per open container, so depth costs no stack. Does not bound
// anything itself: the parser counts. After the first error it frees what it built and lets further tokens pass.
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

  // Whether the message has an error already.
  bool has_failed() const { return error_.has_value(); }

  // The message ends here: its value, or its first error. Empty again then. `end` is where the input ends, for a
  // message that is not whole.
  Result<Value> finish(Position end);

  // Forgets the message.
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

  Position position_;  // of the token that is taken
  std::vector<Frame> frames_;
  std::optional<Value> result_;
  std::optional<Error> error_;
};

}  // namespace blockexport::json
