#include "json/parser.h"

#include <algorithm>

#include "json/scalar.h"

namespace blockexport::json {

Parser::Parser(Limits limits) : limits_(limits), lexer_(std::max<std::size_t>(limits.message_bytes_max, 1)) {}

void Parser::feed(std::string_view bytes) {
  // At least half of the buffer is consumed, so moving the remainder to the front costs no more than the bytes that
  // were fed.
  if (input_taken_ >= input_.size() - input_taken_) {
    input_.remove_prefix(input_taken_);
    input_taken_ = 0;
  }
  input_.append(bytes);
}

void Parser::finish() {
  ends_ = true;
}

std::optional<Result<Value>> Parser::next() {
  const std::size_t begin = input_taken_;
  std::optional<Result<Value>> outcome = take_input();
  // The message may hold a secret, and the client may send nothing more for a long time.
  input_.blank(begin, input_taken_ - begin);
  if (outcome || !ends_) return outcome;
  return take_end();
}

std::optional<Result<Value>> Parser::take_input() {
  std::string_view rest = input_.view().substr(input_taken_);
  while (!rest.empty()) {
    const Token token = lexer_.next(rest);
    input_taken_ = input_.size() - rest.size();
    if (token.kind == TokenKind::kNone) break;
    if (auto outcome = take(token)) return outcome;
  }
  return std::nullopt;
}

std::optional<Result<Value>> Parser::take_end() {
  if (const Token token = lexer_.finish(); token.kind != TokenKind::kNone) {
    if (auto outcome = take(token)) return outcome;
  }
  ends_ = false;
  if (tokens_ == 0) return std::nullopt;
  start_message();
  return builder_.finish(lexer_.position());
}

void Parser::reset() {
  input_.clear();
  input_taken_ = 0;
  ends_ = false;
  lexer_.reset();
  builder_.reset();
  start_message();
}

// Processes one token; returns a result when the token ends the message.
std::optional<Result<Value>> Parser::take(const Token& token) {
  if (token.kind == TokenKind::kStray) {
    return give_up(parse_error(token.position, "stray '" + std::string(quoted_text(token.text)) + "'"));
  }
  // The limit includes a terminator of the current token, hence the 1.
  if (token.kind == TokenKind::kOversize || bytes_ + token.text.size() + 1 > limits_.message_bytes_max) {
    return give_up(Error("JSON token size limit exceeded"));
  }
  if (tokens_ == limits_.tokens_max) return give_up(Error("JSON token count limit exceeded"));
  count_nesting(token.kind);
  if (braces_ + brackets_ > static_cast<std::ptrdiff_t>(limits_.nesting_max)) {
    return give_up(Error("JSON nesting depth limit exceeded"));
  }
  bytes_ += token.text.size();
  ++tokens_;
  builder_.add(token);
  // A message ends when closing brackets are as many as opening ones, even if their kinds do not match: so an error in
  // one message does not change where the next one begins.
  const bool open = (braces_ > 0 || brackets_ > 0) && braces_ >= 0 && brackets_ >= 0;
  if (open) return std::nullopt;
  start_message();
  return builder_.finish(lexer_.position());
}

// Ends the message with an error: the first one of the message.
Result<Value> Parser::give_up(Error error) {
  start_message();
  if (builder_.has_failed()) return builder_.finish(lexer_.position());
  builder_.reset();
  return std::unexpected(std::move(error));
}

void Parser::count_nesting(TokenKind kind) {
  switch (kind) {
    case TokenKind::kLeftBrace:
      ++braces_;
      break;
    case TokenKind::kRightBrace:
      --braces_;
      break;
    case TokenKind::kLeftBracket:
      ++brackets_;
      break;
    case TokenKind::kRightBracket:
      --brackets_;
      break;
    default:
      break;
  }
}

void Parser::start_message() {
  bytes_ = 0;
  tokens_ = 0;
  braces_ = 0;
  brackets_ = 0;
}

Result<Value> parse(std::string_view text, Limits limits) {
  Parser parser(limits);
  parser.feed(text);
  parser.finish();
  std::optional<Result<Value>> first = parser.next();
  if (!first) return fail("Expecting a JSON value");
  if (first->has_value() && parser.next()) return fail("Expecting at most one JSON value");
  return std::move(*first);
}

}  // namespace blockexport::json
