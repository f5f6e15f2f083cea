#include "base/wiped_text.h"

#include <string.h>

#include <algorithm>
#include <utility>

#include "base/secret_bytes.h"

namespace blockexport {

WipedText::WipedText(std::string_view content) {
  if (!content.empty()) string() = content;
}

WipedText::WipedText(std::string&& content) {
  string() = std::move(content);
  // The move of a short string copies its bytes.
  wipe(content);
}

void WipedText::Wipe::operator()(std::string* text) const {
  wipe(*text);
  delete text;
}

const std::string& WipedText::string() const {
  static const std::string empty;
  return text_ == nullptr ? empty : *text_;
}

std::string& WipedText::string() {
  if (text_ == nullptr) text_.reset(new std::string);
  return *text_;
}

void WipedText::append(std::string_view more) {
  std::string& text = string();
  if (text.capacity() - text.size() >= more.size()) {
    text.append(more);
    return;
  }
  std::unique_ptr<std::string, Wipe> larger(new std::string);
  larger->reserve(std::max(2 * text.capacity(), text.size() + more.size()));
  larger->append(text).append(more);
  text_ = std::move(larger);
}

void WipedText::blank(std::size_t offset, std::size_t length) {
  if (length > 0) explicit_bzero(string().data() + offset, length);
}

void WipedText::remove_prefix(std::size_t length) {
  if (length == size()) return clear();
  std::string& text = string();
  std::copy(text.begin() + static_cast<std::ptrdiff_t>(length), text.end(), text.begin());
  blank(text.size() - length, length);
  text.resize(text.size() - length);
}

}  // namespace blockexport
