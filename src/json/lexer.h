// Lexer: bytes into JSON tokens, in whatever pieces the bytes arrive.
//
// Owned by a Parser, used from its thread. Looks at each byte once: a token that arrives in pieces is gathered, never
// scanned again. Knows nothing of grammar, and decodes nothing: a token is the text that was sent.
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
  kStray,     // no token: all that was read of it, the byte that cannot be there last
  kOversize,  // a token of more bytes than allowed, cut short
};

// A place in what was read since the beginning, or since a reset: both count from 1, columns in bytes.
struct Position {
  std::size_t line = 1;
  std::size_t column = 1;
};

struct Token {
  TokenKind kind = TokenKind::kNone;
  std::string_view text;   // good until the lexer is next called, or the input it came from goes
  Position position = {};  // of its first byte
};

class Lexer {
 public:
  // token_bytes_max: at least 1; a longer token ends as kOversize.
  explicit Lexer(std::size_t token_bytes_max) : token_bytes_max_(token_bytes_max) {}

  // Takes bytes off the front of `input` up to the end of one token; kNone when all bytes are taken and none has ended.
  //
  // After a stray token all is skipped up to a byte at which sense may begin again: one of []{}:, or a control
  // character other than TAB, or FE or FF, which are in no UTF-8 text (a client sends them to get a lexer in a known
  // state).
  Token next(std::string_view& input);

  // The input ends here: the token under way, if any, as a whole or as a stray one. Ready for new input then.
  Token finish();

  // Forgets the token under way, and begins to count lines anew.
  void reset();

  // Of the byte that comes next, between tokens.
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
  // What a byte does to the token under way.
  enum class Step : std::uint8_t { kGrow, kEndBefore, kEndAfter, kStray };

  static TokenKind kind_of(State state);
  void reset_gathered();
  void recover(std::string_view& input);
  Token start(std::string_view& input);
  Token go_on(std::string_view& input);
  Step step(std::uint8_t byte);
  Step step_in_number(std::uint8_t byte);
  Token take(std::string_view& input, TokenKind kind, State next_state);
  void pass(std::string_view bytes);

  std::size_t token_bytes_max_;
  State state_ = State::kStart;
  std::uint8_t quote_ = 0;       // what ends the string under way
  std::size_t length_ = 0;       // bytes at the front of the input that belong to the token under way
  WipedText gathered_;           // its bytes from inputs before
  bool gathered_spent_ = false;  // gathered_ is the text of the token handed out last
  Position position_;            // behind all that was passed
  Position start_;               // of the token under way
};

}  // namespace blockexport::json
