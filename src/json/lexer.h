// Lexer: incremental splitter of bytes into JSON tokens; the input may arrive in pieces of any size.
//
// Owned by a Parser, used from its thread. Scans each byte once: a token that arrives in pieces is buffered, and not
// scanned again. Knows no grammar and decodes nothing: a token is the text as it was sent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/wiped_text.h"

namespace blockexport::json {

enum class TokenKind : std::uint8_t {
  kNone,
  kLeftBrace,
  kRightBrace,
  kLeftBracket,
  kRightBracket,
  kColon,
  kComma,
  kString,    // with its quotes, single or double, and its escapes
  kKeyword,   // a word of a-z
  kInteger,   // -?digits
  kDouble,    // a number with a fraction or an exponent
  kStray,     // invalid: the bytes up to and including the first that no token may have there
  kOversize,  // a token of more bytes than allowed, truncated
};

// Line and column in the input since the construction or the last reset. Both count from 1; columns are in bytes.
struct Position {
  std::size_t line = 1;
  std::size_t column = 1;
};

struct Token {
  TokenKind kind = TokenKind::kNone;
  std::string_view text;   // valid until the next call of the lexer, or until the caller frees the input
  Position position = {};  // position of the first byte
};

class Lexer {
 public:
  // token_bytes_max: at least 1; a longer token becomes a kOversize.
  explicit Lexer(std::size_t token_bytes_max) : token_bytes_max_(token_bytes_max) {}

  // Removes bytes from the front of `input` up to the end of one token, and returns it; kNone when the input ended
  // first.
  //
  // After a stray token, skips all bytes up to one at which valid input may begin again: one of []{}:, or a control
  // character other than TAB, or FE or FF, which are in no UTF-8 text (a client sends them to get a lexer in a known
  // state).
  Token next(std::string_view& input);

  // Ends the input: returns the unfinished token, if any, as a complete or a stray one. Then the lexer is ready for new
  // input.
  Token finish();

  // Discards the unfinished token, and restarts the count of lines.
  void reset();

  // Position of the next byte. Call it between tokens.
  Position position() const { return position_; }

 private:
  enum class State : std::uint8_t {
    kStart,
    kRecovery,
    kString,
    kEscape,
    kSign,
    kZero,
    kDigits,
    kPoint,
    kFraction,
    kExponent,
    kExponentSign,
    kExponentDigits,
    kKeyword,
  };
  // Effect of one byte on the current token.
  enum class Step : std::uint8_t { kGrow, kEndBefore, kEndAfter, kStray };

  static TokenKind kind_of(State state);
  void reset_gathered();
  void recover(std::string_view& input);
  Token start(std::string_view& input);
  Token continue_token(std::string_view& input);
  Step step(std::uint8_t byte);
  Step step_in_number(std::uint8_t byte);
  Token take(std::string_view& input, TokenKind kind, State next_state);
  void pass(std::string_view bytes);

  std::size_t token_bytes_max_;
  State state_ = State::kStart;
  std::uint8_t quote_ = 0;       // quote that ends the current string
  std::size_t length_ = 0;       // bytes at the front of the input that belong to the current token
  WipedText gathered_;           // bytes of the current token from earlier inputs
  bool gathered_spent_ = false;  // gathered_ is the text of the token returned last
  Position position_;            // position after all bytes that were consumed
  Position start_;               // position of the current token
};

}  // namespace blockexport::json
