#include "configuration/toml_dots.h"

namespace blockexport::configuration {
namespace {

class Scan {
 public:
  explicit Scan(std::string_view text) : text_(text) {}

  std::optional<json::Position> run() {
    while (offset_ < text_.size()) {
      const char letter = text_[offset_];
      if (letter == '"' || letter == '\'') {
        skip_string(letter);
      } else if (letter == '#') {
        skip_to_line_end();
      } else {
        if (letter == '\n') start_line();
        if (letter == '.' && ++dots_ > kLineDotsMax) return json::Position{line_, offset_ - line_start_ + 1};
        ++offset_;
      }
    }
    return std::nullopt;
  }

 private:
  void start_line() {
    ++line_;
    line_start_ = offset_ + 1;
    dots_ = 0;
  }

  void skip_to_line_end() {
    while (offset_ < text_.size() && text_[offset_] != '\n') ++offset_;
  }

  // Skips a string of one line, which ends at its quote or at the end of the line, or one of several lines.
  void skip_string(char quote) {
    const std::string_view triple = quote == '"' ? "\"\"\"" : "'''";
    const bool is_long = text_.substr(offset_).starts_with(triple);
    offset_ += is_long ? 3 : 1;
    while (offset_ < text_.size()) {
      const char letter = text_[offset_];
      if (letter == '\n') {
        if (!is_long) return;
        start_line();
      }
      if (letter == '\\' && quote == '"') {
        // An escaped line end is counted in the next turn.
        offset_ += offset_ + 1 < text_.size() && text_[offset_ + 1] != '\n' ? 2 : 1;
        continue;
      }
      if (is_long ? text_.substr(offset_).starts_with(triple) : letter == quote) {
        offset_ += is_long ? 3 : 1;
        // Up to two quotes before the three that end a long string belong to it.
        while (is_long && offset_ < text_.size() && text_[offset_] == quote) ++offset_;
        return;
      }
      ++offset_;
    }
  }

  std::string_view text_;
  std::size_t offset_ = 0;
  std::size_t line_ = 1;
  std::size_t line_start_ = 0;
  std::size_t dots_ = 0;
};

}  // namespace

std::optional<json::Position> find_too_many_dots(std::string_view text) {
  return Scan(text).run();
}

}  // namespace blockexport::configuration
