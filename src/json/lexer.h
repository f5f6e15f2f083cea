// Lexer: QMP's JSON as tokens, byte by byte, in any segmentation.
//
// RFC 8259 plus strings in single quotes. It checks the form of tokens only; what a string's escapes mean, and whether
// a keyword is one, is the parser's business. After a byte that fits nowhere it reports an error token and skips to the
// next byte that may begin something. Thread: one at a time. Each byte is looked at once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace blockexport::json {

enum class TokenKind : std::uint8_t {
  kBeginObject,
  kEndObject,
  kBeginArray,
  kEndArray,
  kColon,
  kComma,
  kInteger,
  kDouble,
  kKeyword,
  kString,  // with its quotes and escapes
  kError,   // `text` is what was read of it, the wrong byte included
};

struct Token {
  TokenKind kind;
  std::string text;
};

class Lexer {
 public:
  // Takes bytes from the front of `input` until a token is complete, which it gives, or the input is used up (false).
  bool next(std::string_view& input, Token& token);

  // The end of a document: completes a number or keyword that only its end delimits. False when nothing was pending; an
  // incomplete token becomes an error token.
  bool finish(Token& token);

  // Bytes of the token that is being read.
  std::size_t pending_bytes() const { return text_.size(); }
  void reset();

 private:
  enum class State : std::uint8_t {
    kStart,
    kMinus,
    kZero,
    kDigits,
    kPoint,
    kFraction,
    kExponentMark,
    kExponentSign,
    kExponentDigits,
    kKeyword,
    kDoubleQuoted,
    kDoubleQuotedEscape,
    kSingleQuoted,
    kSingleQuotedEscape,
    kRecovery,
  };
  enum class Step : std::uint8_t { kTaken, kBefore, kToken, kWrong };

  Step step(unsigned char c);
  Step start(unsigned char c);
  Step number(unsigned char c);
  Step quoted(unsigned char c);
  void emit(TokenKind kind, Token& token);

  State state_ = State::kStart;
  TokenKind kind_ = TokenKind::kError;
  std::string text_;
};

}  // namespace blockexport::json
