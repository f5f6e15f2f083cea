#include "json/lexer.h"

#include <algorithm>
#include <array>

namespace blockexport::json {
namespace {

// Bytes inside a string that are neither a quote, an escape nor forbidden.
constexpr auto kPlainInString = [] {
  std::array<bool, 256> plain{};
  for (int byte = 0x20; byte < 0xFE; ++byte) plain[byte] = byte != '"' && byte != '\'' && byte != '\\';
  return plain;
}();

constexpr bool is_digit(std::uint8_t byte) {
  return byte >= '0' && byte <= '9';
}
constexpr bool is_lower(std::uint8_t byte) {
  return byte >= 'a' && byte <= 'z';
}
constexpr bool is_blank(std::uint8_t byte) {
  return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}
constexpr bool is_exponent_mark(std::uint8_t byte) {
  return byte == 'e' || byte == 'E';
}
// Bytes that may be in no string, escaped or not.
constexpr bool is_never_in_string(std::uint8_t byte) {
  return byte < 0x20 || byte >= 0xFE;
}

constexpr TokenKind structural_kind(std::uint8_t byte) {
  switch (byte) {
    case '{':
      return TokenKind::kLeftBrace;
    case '}':
      return TokenKind::kRightBrace;
    case '[':
      return TokenKind::kLeftBracket;
    case ']':
      return TokenKind::kRightBracket;
    case ':':
      return TokenKind::kColon;
    case ',':
      return TokenKind::kComma;
    default:
      return TokenKind::kNone;
  }
}

constexpr bool ends_recovery(std::uint8_t byte) {
  return structural_kind(byte) != TokenKind::kNone || (is_never_in_string(byte) && byte != '\t');
}

}  // namespace

TokenKind Lexer::kind_of(State state) {
  switch (state) {
    case State::kZero:
    case State::kDigits:
      return TokenKind::kInteger;
    case State::kFraction:
    case State::kExponentDigits:
      return TokenKind::kDouble;
    case State::kKeyword:
      return TokenKind::kKeyword;
    case State::kString:
      return TokenKind::kString;
    default:
      return TokenKind::kStray;
  }
}

Token Lexer::next(std::string_view& input) {
  if (gathered_spent_) reset_gathered();
  while (!input.empty()) {
    Token token;
    switch (state_) {
      case State::kRecovery:
        recover(input);
        break;
      case State::kStart:
        token = start(input);
        break;
      default:
        token = continue_token(input);
    }
    if (token.kind != TokenKind::kNone) return token;
  }
  return {};
}

Token Lexer::finish() {
  if (gathered_spent_) reset_gathered();
  std::string_view nothing;
  if (state_ == State::kStart || state_ == State::kRecovery) {
    state_ = State::kStart;
    return {};
  }
  // Only a string's closing quote ends a string.
  const TokenKind kind = state_ == State::kString ? TokenKind::kStray : kind_of(state_);
  return take(nothing, kind, State::kStart);
}

void Lexer::reset() {
  state_ = State::kStart;
  length_ = 0;
  position_ = {};
  reset_gathered();
}

// Advances position_ over `bytes`. Most input has no newline; find() checks that at memory speed.
void Lexer::pass(std::string_view bytes) {
  for (std::size_t end = bytes.find('\n'); end != std::string_view::npos; end = bytes.find('\n')) {
    ++position_.line;
    position_.column = 1;
    bytes.remove_prefix(end + 1);
  }
  position_.column += bytes.size();
}

void Lexer::reset_gathered() {
  gathered_spent_ = false;
  gathered_.clear();
}

void Lexer::recover(std::string_view& input) {
  auto resume =
      std::find_if(input.begin(), input.end(), [](char c) { return ends_recovery(static_cast<std::uint8_t>(c)); });
  if (resume != input.end()) state_ = State::kStart;
  const auto skipped = static_cast<std::size_t>(resume - input.begin());
  pass(input.substr(0, skipped));
  input.remove_prefix(skipped);
}

// Between tokens: skips blanks, returns a token of one byte at once, and begins a longer one.
Token Lexer::start(std::string_view& input) {
  std::size_t blanks = 0;
  while (blanks < input.size() && is_blank(static_cast<std::uint8_t>(input[blanks]))) ++blanks;
  pass(input.substr(0, blanks));
  input.remove_prefix(blanks);
  if (input.empty()) return {};
  start_ = position_;
  const auto byte = static_cast<std::uint8_t>(input.front());
  length_ = 1;
  if (TokenKind kind = structural_kind(byte); kind != TokenKind::kNone) return take(input, kind, State::kStart);
  if (byte == '"' || byte == '\'') {
    state_ = State::kString;
    quote_ = byte;
  } else if (is_lower(byte)) {
    state_ = State::kKeyword;
  } else if (byte == '-') {
    state_ = State::kSign;
  } else if (is_digit(byte)) {
    state_ = byte == '0' ? State::kZero : State::kDigits;
  } else {
    return take(input, TokenKind::kStray, State::kRecovery);
  }
  return {};
}

Token Lexer::continue_token(std::string_view& input) {
  const std::size_t bytes_left = token_bytes_max_ + 1 - gathered_.size();
  const std::size_t end = std::min(input.size(), bytes_left);
  while (length_ < end) {
    if (state_ == State::kString) {
      while (length_ < end && kPlainInString[static_cast<std::uint8_t>(input[length_])]) ++length_;
      if (length_ == end) break;
    }
    const State before = state_;
    switch (step(static_cast<std::uint8_t>(input[length_]))) {
      case Step::kGrow:
        ++length_;
        break;
      case Step::kEndBefore:
        return take(input, kind_of(before), State::kStart);
      case Step::kEndAfter:
        ++length_;
        return take(input, kind_of(before), State::kStart);
      case Step::kStray:
        ++length_;
        return take(input, TokenKind::kStray, State::kRecovery);
    }
  }
  if (length_ == bytes_left) return take(input, TokenKind::kOversize, State::kStart);
  pass(input);
  gathered_.append(input);
  input = {};
  length_ = 0;
  return {};
}

Lexer::Step Lexer::step(std::uint8_t byte) {
  switch (state_) {
    case State::kString:
      if (byte == quote_) return Step::kEndAfter;
      if (is_never_in_string(byte)) return Step::kStray;
      if (byte == '\\') state_ = State::kEscape;
      return Step::kGrow;
    case State::kEscape:
      if (is_never_in_string(byte)) return Step::kStray;
      state_ = State::kString;
      return Step::kGrow;
    case State::kKeyword:
      return is_lower(byte) ? Step::kGrow : Step::kEndBefore;
    default:
      return step_in_number(byte);
  }
}

Lexer::Step Lexer::step_in_number(std::uint8_t byte) {
  const auto grow_to = [this](State state) {
    state_ = state;
    return Step::kGrow;
  };
  switch (state_) {
    case State::kSign:
      return is_digit(byte) ? grow_to(byte == '0' ? State::kZero : State::kDigits) : Step::kStray;
    case State::kZero:
      if (is_digit(byte)) return Step::kStray;
      break;
    case State::kDigits:
    case State::kFraction:
    case State::kExponentDigits:
      if (is_digit(byte)) return Step::kGrow;
      break;
    case State::kPoint:
      return is_digit(byte) ? grow_to(State::kFraction) : Step::kStray;
    case State::kExponent:
      if (byte == '+' || byte == '-') return grow_to(State::kExponentSign);
      [[fallthrough]];
    default:
      return is_digit(byte) ? grow_to(State::kExponentDigits) : Step::kStray;
  }
  const bool whole = state_ == State::kZero || state_ == State::kDigits;
  if (byte == '.' && whole) return grow_to(State::kPoint);
  if (is_exponent_mark(byte) && state_ != State::kExponentDigits) return grow_to(State::kExponent);
  return Step::kEndBefore;
}

// Ends the current token, whose last bytes are the first `length_` bytes of the input.
Token Lexer::take(std::string_view& input, TokenKind kind, State next_state) {
  Token token{.kind = kind, .text = input.substr(0, length_), .position = start_};
  pass(token.text);
  if (!gathered_.empty()) {
    gathered_.append(token.text);
    gathered_spent_ = true;
    token.text = gathered_.view();
  }
  input.remove_prefix(length_);
  length_ = 0;
  state_ = next_state;
  return token;
}

}  // namespace blockexport::json
