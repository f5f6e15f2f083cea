// Parser: incremental parser of a stream of JSON messages, such as a QMP client sends.
//
// Owned by one connection, used from its thread. Bytes may arrive in pieces of any size and are scanned once. Messages
// need no separator. Malformed input yields an error, and parsing goes on after it; no input makes the parser exceed
// its memory limits, recurse, or fail otherwise. It accepts the same texts as QSD, reports the same errors, and resumes
// at the same byte; a syntax error begins with its line and column. Never blocks.
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
  std::size_t message_bytes_max = kMessageBytesMax;  // of all its tokens, without blanks
  std::size_t tokens_max = kMessageTokensMax;
  std::size_t nesting_max = kNestingMax;
};

class Parser {
 public:
  explicit Parser(Limits limits = {});

  // Appends a part of the stream. The parser buffers it until next() has consumed it, so the caller should take all
  // messages before it feeds more.
  void feed(std::string_view bytes);

  // Ends the stream: next() then also returns a number or keyword that only the end completes, and an error for an
  // incomplete message. Afterwards the parser is as new.
  void finish();

  // Returns the next message or error; nothing when it needs more bytes. A message that exceeds a limit, or contains an
  // invalid byte, ends there, and the following bytes begin a new message.
  std::optional<Result<Value>> next();

  // Discards all that was fed.
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
  std::size_t input_taken_ = 0;  // bytes at the front of input_ that the lexer has consumed; they are overwritten
  bool ends_ = false;
  // Counts of the current message:
  std::size_t bytes_ = 0;
  std::size_t tokens_ = 0;
  std::ptrdiff_t braces_ = 0;  // opened minus closed
  std::ptrdiff_t brackets_ = 0;
};

// Parses `text` as exactly one document, such as a command line argument or the text after "json:".
Result<Value> parse(std::string_view text, Limits limits = {});

}  // namespace blockexport::json
