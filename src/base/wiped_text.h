// WipedText: text that leaves nothing behind. Its bytes stand in one place of the heap: moving it moves a pointer, and
// whatever memory it gives up is overwritten first.
//
// Owned like a string; for what may hold a secret on its way to a SecretBytes, which alone is locked in memory. Copies
// are deep, and wiped too. Thread: one at a time.
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
  // Takes it over; no byte of it is left in `content`.
  explicit WipedText(std::string&& content);
  WipedText(const WipedText& other) : WipedText(other.view()) {}
  WipedText(WipedText&& other) noexcept = default;
  WipedText& operator=(const WipedText& other) { return *this = WipedText(other); }
  WipedText& operator=(WipedText&& other) noexcept = default;
  ~WipedText() = default;

  std::string_view view() const { return text_ == nullptr ? std::string_view() : *text_; }
  std::size_t size() const { return view().size(); }
  bool empty() const { return view().empty(); }
  // The text as a string, for whoever wants one, or fills it once: one that grows leaves bytes behind. Good until the
  // text is moved, appended to or cleared.
  const std::string& string() const;
  std::string& string();

  void append(std::string_view more);
  // Overwrites `length` bytes from `offset` on, which are in it.
  void blank(std::size_t offset, std::size_t length);
  // Without its first `length` bytes.
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
