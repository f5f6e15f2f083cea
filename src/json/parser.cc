#include "json/parser.h"

#include <fmt/format.h>

#include <cassert>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <span>

#include "json/string_literal.h"

namespace blockexport::json {
namespace {

// One document out of its tokens, by recursive descent; the caller has bounded the nesting.
class DocumentParser {
 public:
  explicit DocumentParser(std::span<Token> tokens) : tokens_(tokens) {}

  Result<Value> document() {
    TRY_ASSIGN(Value value, parse_value());
    if (!at_end()) return fail("expecting value");
    return value;
  }

 private:
  bool at_end() const { return position_ == tokens_.size(); }
  Token* peek() { return at_end() ? nullptr : &tokens_[position_]; }
  Token* take() { return at_end() ? nullptr : &tokens_[position_++]; }

  Result<Value> parse_value() {
    Token* token = take();
    if (token == nullptr) return fail("premature EOI");
    switch (token->kind) {
      case TokenKind::kBeginObject:
        return parse_object();
      case TokenKind::kBeginArray:
        return parse_array();
      case TokenKind::kInteger:
        return parse_integer(token->text);
      case TokenKind::kDouble:
        return parse_double(token->text);
      case TokenKind::kString: {
        TRY_ASSIGN(std::string text, unquote(token->text));
        return Value(std::move(text));
      }
      case TokenKind::kKeyword:
        return parse_keyword(token->text);
      default:
        return fail("expecting value");
    }
  }

  static Result<Value> parse_keyword(const std::string& text) {
    if (text == "true") return Value(true);
    if (text == "false") return Value(false);
    if (text == "null") return Value(Null{});
    return fail(fmt::format("invalid keyword '{}'", text));
  }

  // JSON has no way to write what is beyond a double.
  static Result<Value> parse_double(const std::string& text) {
    double number = std::strtod(text.c_str(), nullptr);
    if (!std::isfinite(number)) return fail("number out of range");
    return Value(number);
  }

  static Result<Value> parse_integer(const std::string& text) {
    const char* end = text.data() + text.size();
    std::int64_t signed_value;
    if (std::from_chars(text.data(), end, signed_value).ec == std::errc{}) return Value(signed_value);
    std::uint64_t unsigned_value;
    if (text[0] != '-' && std::from_chars(text.data(), end, unsigned_value).ec == std::errc{}) {
      return Value(unsigned_value);
    }
    return parse_double(text);
  }

  Result<Value> parse_object() {
    Object object;
    if (Token* token = peek(); token != nullptr && token->kind == TokenKind::kEndObject) {
      take();
      return Value(std::move(object));
    }
    for (;;) {
      TRY(parse_pair(object));
      Token* separator = take();
      if (separator == nullptr) return fail("premature EOI");
      if (separator->kind == TokenKind::kEndObject) return Value(std::move(object));
      if (separator->kind != TokenKind::kComma) return fail("expected separator in dict");
    }
  }

  Result<> parse_pair(Object& object) {
    TRY_ASSIGN(Value key, parse_value());
    const std::string* name = key.as_string();
    if (name == nullptr) return fail("key is not a string in object");
    Token* colon = take();
    if (colon == nullptr) return fail("premature EOI");
    if (colon->kind != TokenKind::kColon) return fail("missing : in object pair");
    TRY_ASSIGN(Value value, parse_value());
    if (!object.insert(*name, std::move(value))) return fail("duplicate key");
    return {};
  }

  Result<Value> parse_array() {
    Array array;
    if (Token* token = peek(); token != nullptr && token->kind == TokenKind::kEndArray) {
      take();
      return Value(std::move(array));
    }
    for (;;) {
      TRY_ASSIGN(Value value, parse_value());
      array.push_back(std::move(value));
      Token* separator = take();
      if (separator == nullptr) return fail("premature EOI");
      if (separator->kind == TokenKind::kEndArray) return Value(std::move(array));
      if (separator->kind != TokenKind::kComma) return fail("expected separator in list");
    }
  }

  std::span<Token> tokens_;
  std::size_t position_ = 0;
};

}  // namespace

void Parser::feed(std::string_view bytes) {
  Token token;
  while (lexer_.next(bytes, token)) on_token(std::move(token));
  if (token_bytes_ + lexer_.pending_bytes() > limits_.message_bytes_max) {
    error("JSON token size limit exceeded");
    lexer_.reset();
  }
}

void Parser::on_token(Token token) {
  switch (token.kind) {
    case TokenKind::kBeginObject:
      ++open_objects_;
      break;
    case TokenKind::kEndObject:
      --open_objects_;
      break;
    case TokenKind::kBeginArray:
      ++open_arrays_;
      break;
    case TokenKind::kEndArray:
      --open_arrays_;
      break;
    case TokenKind::kError:
      error(fmt::format("JSON parse error, stray '{}'", token.text));
      return;
    default:
      break;
  }
  if (token_bytes_ + token.text.size() > limits_.message_bytes_max) return error("JSON token size limit exceeded");
  if (tokens_.size() + 1 > limits_.tokens_max) return error("JSON token count limit exceeded");
  if (open_objects_ + open_arrays_ > static_cast<std::int64_t>(limits_.nesting_max)) {
    return error("JSON nesting depth limit exceeded");
  }
  token_bytes_ += token.text.size();
  tokens_.push_back(std::move(token));
  bool balanced = open_objects_ == 0 && open_arrays_ == 0;
  if (balanced || open_objects_ < 0 || open_arrays_ < 0) complete();
}

void Parser::complete() {
  auto value = DocumentParser(tokens_).document();
  if (!value) value = fail(std::move(value).error().with_prefix("JSON parse error, "));
  tokens_.clear();
  token_bytes_ = 0;
  open_objects_ = open_arrays_ = 0;
  results_.push_back(std::move(value));
}

void Parser::error(std::string message) {
  tokens_.clear();
  token_bytes_ = 0;
  open_objects_ = open_arrays_ = 0;
  results_.push_back(fail(std::move(message)));
}

std::optional<std::expected<Value, Error>> Parser::next() {
  if (results_.empty()) return std::nullopt;
  std::optional<std::expected<Value, Error>> first(std::move(results_.front()));
  results_.pop_front();
  return first;
}

void Parser::finish() {
  Token token;
  if (lexer_.finish(token)) on_token(std::move(token));
  if (!tokens_.empty()) complete();
  lexer_.reset();
}

void Parser::reset() {
  lexer_.reset();
  tokens_.clear();
  token_bytes_ = 0;
  open_objects_ = open_arrays_ = 0;
  results_.clear();
}

Result<Value> parse(std::string_view text) {
  Parser parser;
  parser.feed(text);
  parser.finish();
  auto first = parser.next();
  if (!first) return fail("Expecting a JSON value");
  if (!*first) return fail(std::move(*first).error());
  if (parser.next()) return fail("Expecting at most one JSON value");
  return std::move(**first);
}

}  // namespace blockexport::json
