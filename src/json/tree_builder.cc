#include "json/tree_builder.h"

#include "json/scalar.h"

namespace blockexport::json {

bool TreeBuilder::Frame::is_closed_by(TokenKind kind) const {
  return kind == (is_object ? TokenKind::kRightBrace : TokenKind::kRightBracket);
}

Error parse_error(Position position, std::string_view reason) {
  std::string message = std::to_string(position.line) + ":" + std::to_string(position.column) + ": JSON parse error, ";
  message += reason;
  return Error(std::move(message));
}

void TreeBuilder::add(const Token& token) {
  if (error_) return;
  position_ = token.position;
  if (frames_.empty()) return take_value(token);
  Frame& top = frames_.back();
  switch (top.expect) {
    case Expect::kItemOrEnd:
      return top.is_closed_by(token.kind) ? close() : take_item(token);
    case Expect::kItem:
      return take_item(token);
    case Expect::kMemberValue:
      return take_value(token);
    case Expect::kColon:
      if (token.kind != TokenKind::kColon) return fail("expecting ':'");
      top.expect = Expect::kMemberValue;
      return;
    case Expect::kSeparator:
      if (top.is_closed_by(token.kind)) return close();
      if (token.kind != TokenKind::kComma) {
        return fail(top.is_object ? "expected ',' or '}'" : "expected ',' or ']'");
      }
      top.expect = Expect::kItem;
      return;
  }
}

Result<Value> TreeBuilder::finish(Position end) {
  if (!error_ && !result_) {
    position_ = end;
    fail("premature end of input");
  }
  Result<Value> outcome;
  if (error_) {
    outcome = std::unexpected(std::move(*error_));
  } else {
    outcome = std::move(*result_);
  }
  reset();
  return outcome;
}

void TreeBuilder::reset() {
  frames_.clear();
  result_.reset();
  error_.reset();
}

// Takes an array's value, or an object's key, which must be a string.
void TreeBuilder::take_item(const Token& token) {
  if (frames_.back().is_object && token.kind != TokenKind::kString) return fail("expecting key");
  take_value(token);
}

void TreeBuilder::take_value(const Token& token) {
  switch (token.kind) {
    case TokenKind::kLeftBrace:
    case TokenKind::kLeftBracket:
      frames_.push_back({.is_object = token.kind == TokenKind::kLeftBrace, .array = {}, .object = {}, .key = {}});
      return;
    case TokenKind::kString:
      return take_string(token.text);
    case TokenKind::kInteger:
      return take_scalar(decode_integer(token.text));
    case TokenKind::kDouble:
      return take_scalar(decode_double(token.text));
    case TokenKind::kKeyword:
      return take_scalar(decode_keyword(token.text));
    default:
      return fail("expecting value");
  }
}

void TreeBuilder::take_scalar(std::expected<Value, std::string> scalar) {
  return scalar ? deliver(std::move(*scalar)) : fail(scalar.error());
}

void TreeBuilder::take_string(std::string_view token) {
  auto text = decode_string(token);
  if (!text) return fail(text.error());
  if (frames_.empty() || !frames_.back().wants_key()) return deliver(std::move(*text));
  frames_.back().key = std::move(*text);
  frames_.back().expect = Expect::kColon;
}

// Adds a complete value to the innermost open container, or makes it the result.
void TreeBuilder::deliver(Value value) {
  if (frames_.empty()) {
    result_ = std::move(value);
    return;
  }
  Frame& top = frames_.back();
  if (!top.is_object) {
    top.array.push_back(std::move(value));
  } else if (!top.object.insert(std::move(top.key), std::move(value))) {
    return fail("duplicate key");
  }
  top.expect = Expect::kSeparator;
}

void TreeBuilder::close() {
  Frame top = std::move(frames_.back());
  frames_.pop_back();
  if (top.is_object) {
    deliver(std::move(top.object));
  } else {
    deliver(std::move(top.array));
  }
}

void TreeBuilder::fail(std::string_view reason) {
  frames_.clear();
  error_ = parse_error(position_, reason);
}

}  // namespace blockexport::json
