#include "json/lexer.h"

namespace blockexport::json {
namespace {

bool is_digit(unsigned char c) {
  return c >= '0' && c <= '9';
}
bool is_lower(unsigned char c) {
  return c >= 'a' && c <= 'z';
}
bool is_space(unsigned char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// Where reading may begin again after an error.
bool ends_recovery(unsigned char c) {
  return (c < 0x20 && c != '\t') || c == '[' || c == ']' || c == '{' || c == '}' || c == ':' || c == ',' || c >= 0xfe;
}

}  // namespace

void Lexer::reset() {
  state_ = State::kStart;
  text_.clear();
}

void Lexer::emit(TokenKind kind, Token& token) {
  token.kind = kind;
  token.text = std::move(text_);
  reset();
}

bool Lexer::next(std::string_view& input, Token& token) {
  while (!input.empty()) {
    auto c = static_cast<unsigned char>(input.front());
    if (state_ == State::kRecovery) {
      if (!ends_recovery(c)) {
        input.remove_prefix(1);
        continue;
      }
      // The byte itself is read again, as the first of a new token.
      state_ = State::kStart;
      continue;
    }
    switch (step(c)) {
      case Step::kTaken:
        input.remove_prefix(1);
        break;
      case Step::kBefore:
        emit(kind_, token);
        return true;
      case Step::kToken:
        input.remove_prefix(1);
        emit(kind_, token);
        return true;
      case Step::kWrong:
        input.remove_prefix(1);
        text_ += static_cast<char>(c);
        emit(TokenKind::kError, token);
        state_ = State::kRecovery;
        return true;
    }
  }
  return false;
}

bool Lexer::finish(Token& token) {
  switch (state_) {
    case State::kStart:
    case State::kRecovery:
      return false;
    case State::kZero:
    case State::kDigits:
      emit(TokenKind::kInteger, token);
      return true;
    case State::kFraction:
    case State::kExponentDigits:
      emit(TokenKind::kDouble, token);
      return true;
    case State::kKeyword:
      emit(TokenKind::kKeyword, token);
      return true;
    default:
      emit(TokenKind::kError, token);
      return true;
  }
}

Lexer::Step Lexer::step(unsigned char c) {
  switch (state_) {
    case State::kStart:
      return start(c);
    case State::kKeyword:
      if (is_lower(c)) {
        text_ += static_cast<char>(c);
        return Step::kTaken;
      }
      kind_ = TokenKind::kKeyword;
      return Step::kBefore;
    case State::kDoubleQuoted:
    case State::kDoubleQuotedEscape:
    case State::kSingleQuoted:
    case State::kSingleQuotedEscape:
      return quoted(c);
    default:
      return number(c);
  }
}

Lexer::Step Lexer::start(unsigned char c) {
  if (is_space(c)) return Step::kTaken;
  auto take = [&](State state) {
    text_ += static_cast<char>(c);
    state_ = state;
    return Step::kTaken;
  };
  auto single = [&](TokenKind kind) {
    text_ += static_cast<char>(c);
    kind_ = kind;
    return Step::kToken;
  };
  switch (c) {
    case '{':
      return single(TokenKind::kBeginObject);
    case '}':
      return single(TokenKind::kEndObject);
    case '[':
      return single(TokenKind::kBeginArray);
    case ']':
      return single(TokenKind::kEndArray);
    case ':':
      return single(TokenKind::kColon);
    case ',':
      return single(TokenKind::kComma);
    case '"':
      return take(State::kDoubleQuoted);
    case '\'':
      return take(State::kSingleQuoted);
    case '-':
      return take(State::kMinus);
    case '0':
      return take(State::kZero);
    default:
      if (is_digit(c)) return take(State::kDigits);
      if (is_lower(c)) return take(State::kKeyword);
      return Step::kWrong;
  }
}

Lexer::Step Lexer::number(unsigned char c) {
  auto take = [&](State state) {
    text_ += static_cast<char>(c);
    state_ = state;
    return Step::kTaken;
  };
  auto before = [&](TokenKind kind) {
    kind_ = kind;
    return Step::kBefore;
  };
  bool exponent = c == 'e' || c == 'E';
  switch (state_) {
    case State::kMinus:
      if (is_digit(c)) return take(c == '0' ? State::kZero : State::kDigits);
      return Step::kWrong;
    case State::kZero:
      if (is_digit(c)) return Step::kWrong;
      [[fallthrough]];
    case State::kDigits:
      if (is_digit(c)) return take(State::kDigits);
      if (c == '.') return take(State::kPoint);
      if (exponent) return take(State::kExponentMark);
      return before(TokenKind::kInteger);
    case State::kPoint:
      return is_digit(c) ? take(State::kFraction) : Step::kWrong;
    case State::kFraction:
      if (is_digit(c)) return take(State::kFraction);
      if (exponent) return take(State::kExponentMark);
      return before(TokenKind::kDouble);
    case State::kExponentMark:
      if (c == '+' || c == '-') return take(State::kExponentSign);
      [[fallthrough]];
    case State::kExponentSign:
      return is_digit(c) ? take(State::kExponentDigits) : Step::kWrong;
    default:
      return is_digit(c) ? take(State::kExponentDigits) : before(TokenKind::kDouble);
  }
}

Lexer::Step Lexer::quoted(unsigned char c) {
  // Control bytes have to be escaped, and no UTF-8 has these two.
  if (c < 0x20 || c >= 0xfe) return Step::kWrong;
  text_ += static_cast<char>(c);
  bool is_double = state_ == State::kDoubleQuoted || state_ == State::kDoubleQuotedEscape;
  if (state_ == State::kDoubleQuotedEscape || state_ == State::kSingleQuotedEscape) {
    state_ = is_double ? State::kDoubleQuoted : State::kSingleQuoted;
    return Step::kTaken;
  }
  if (c == '\\') {
    state_ = is_double ? State::kDoubleQuotedEscape : State::kSingleQuotedEscape;
    return Step::kTaken;
  }
  if (c != (is_double ? '"' : '\'')) return Step::kTaken;
  kind_ = TokenKind::kString;
  // The quote was taken already.
  return Step::kToken;
}

}  // namespace blockexport::json
