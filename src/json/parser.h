// Parser: a stream of JSON messages, as a QMP client sends them, into values.
//
// Owned by one connection, used from its thread. Bytes may arrive in any pieces and are looked at once. Messages need
// no separator between them. Every malformed input ends in an error and the stream goes on; nothing in it can make the
// parser hold more than its limits, recurse, or fail otherwise. What is accepted, which errors there are and where it
// starts afresh after one is as QSD does it; an error of grammar begins with its line and column. Never blocks.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/wiped_text.h"
#include "json/lexer.h"
#include "json/tree_builder.h"
#include "json/value.h"

namespace blockexport::json {

// QSD's limits on one message.
inline constexpr std::size_t kMessageBytesMax = std::size_t{64} << 20;
inline constexpr std::size_t kMessageTokensMax = std::size_t{1} << 21;
inline constexpr std::size_t kNestingMax = 1024;

struct Limits {
  std::size_t message_bytes_max = kMessageBytesMax;  // of all its tokens; blanks do not count
  std::size_t tokens_max = kMessageTokensMax;
  std::size_t nesting_max = kNestingMax;
};

class Parser {
 public:
  explicit Parser(Limits limits = {});

  // More of the stream. Kept until next() has passed it, so the caller should take the messages before it feeds on.
  void feed(std::string_view bytes);

  // The stream ends after what was fed: next() then also tells of a number, a word or a part of a message at its end.
  // Thereafter the parser is as new.
  void finish();

  // The next message or error of what was fed; nothing when it needs more bytes. A message that breaks a limit, or has
  // a byte in it that cannot be, ends there and what follows counts as new messages.
  std::optional<Result<Value>> next();

  // Forgets all that was fed.
  void reset();

 private:
  std::optional<Result<Value>> take(const Token& token);
  std::optional<Result<Value>> take_input();
  std::optional<Result<Value>> take_end();
  Result<Value> give_up(Error error);
  void count_nesting(TokenKind kind);
  void start_message();

  Limits limits_;
  Lexer lexer_;
  TreeBuilder builder_;
  WipedText input_;
  std::size_t input_taken_ = 0;  // bytes of input_ the lexer has passed; they are overwritten
  bool ends_ = false;
  // Of the message under way:
  std::size_t bytes_ = 0;
  std::size_t tokens_ = 0;
  std::ptrdiff_t braces_ = 0;  // open ones less closed ones
  std::ptrdiff_t brackets_ = 0;
};

// One document that is all of `text`, as in a command line argument or behind "json:".
Result<Value> parse(std::string_view text, Limits limits = {});

}  // namespace blockexport::json
