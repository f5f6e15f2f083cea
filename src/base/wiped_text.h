// WipedText: a string that overwrites its memory before it frees it. The bytes are in one heap block, so a move copies
// only a pointer.
//
// Owned like a string; for text that may hold a secret before it reaches a SecretBytes (only that is locked in memory).
// Copies are deep, and wiped too. Thread: one at a time.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace blockexport {

class WipedText {
 public:
  WipedText() = default;
  explicit WipedText(std::string_view content);
  // Takes the content over and wipes `content`.
  explicit WipedText(std::string&& content);
  WipedText(const WipedText& other) : WipedText(other.view()) {}
  WipedText(WipedText&& other) noexcept = default;
  WipedText& operator=(const WipedText& other) { return *this = WipedText(other); }
  WipedText& operator=(WipedText&& other) noexcept = default;
  ~WipedText() = default;

  std::string_view view() const { return text_ == nullptr ? std::string_view() : *text_; }
  std::size_t size() const { return view().size(); }
  bool empty() const { return view().empty(); }
  // The text as a string. A caller may fill it once, but must not let it grow: a reallocation would leave bytes behind.
  // The reference is valid until the text is moved, appended to or cleared.
  const std::string& string() const;
  std::string& string();

  void append(std::string_view more);
  // Overwrites `length` bytes from `offset` on with zeroes; the range lies inside the text.
  void blank(std::size_t offset, std::size_t length);
  // Removes the first `length` bytes.
  void remove_prefix(std::size_t length);
  void clear() { text_.reset(); }

  friend bool operator==(const WipedText& a, const WipedText& b) { return a.view() == b.view(); }

 private:
  struct Wipe {
    void operator()(std::string* text) const;
  };

  std::unique_ptr<std::string, Wipe> text_;
};

}  // namespace blockexport
