// Finding: an error in a configuration file, with its place; and Findings, the bounded list of all of them.
//
// Plain values; thread: any, one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace blockexport::configuration {

// Most errors that one reading reports; further ones are counted.
inline constexpr std::size_t kFindingsMax = 100;

// A place in a file; line and column count from 1. Without a line it is the file as a whole.
struct Place {
  std::string file;
  std::size_t line = 0;
  std::size_t column = 0;
};

// "FILE:LINE:COLUMN", or "FILE".
std::string text_of(const Place& place);

struct Finding {
  Place place;
  std::string message;  // without a final full stop
  std::string hint;     // a sentence, or empty
};

// "FILE:LINE:COLUMN: MESSAGE. HINT"
std::string text_of(const Finding& finding);

class Findings {
 public:
  void add(Place place, std::string message, std::string hint = {});
  bool empty() const { return list_.empty(); }
  const std::vector<Finding>& list() const { return list_; }
  std::size_t size() const { return list_.size() + not_kept_; }
  // Sorts them by file in the order of `files`, then by line and column.
  void sort(const std::vector<std::string>& files);
  // One line each, and a last line about those that were only counted.
  std::string text() const;

 private:
  std::vector<Finding> list_;
  std::size_t not_kept_ = 0;
};

}  // namespace blockexport::configuration
