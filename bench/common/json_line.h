// JsonLine: writer of one result as one line of JSON on standard output, the only interface between the programs and
// run.py.
//
// Names and texts are plain words of our own that need no escaping; other characters are replaced by '?'. Thread: one
// owner.
#pragma once

#include <fmt/format.h>

#include <concepts>
#include <cstdio>
#include <string>
#include <string_view>

namespace blockexport::bench {

class JsonLine {
 public:
  void add(std::string_view name, std::integral auto value) { append(name, fmt::format("{}", value)); }
  void add(std::string_view name, double value) { append(name, fmt::format("{:.3f}", value)); }
  void add(std::string_view name, std::string_view value) {
    std::string plain(value);
    for (char& c : plain) {
      if (c < ' ' || c > '~' || c == '"' || c == '\\') {
        c = '?';
      }
    }
    append(name, '"' + plain + '"');
  }

  void print() const {
    fmt::print("{{{}}}\n", members_);
    std::fflush(stdout);
  }

 private:
  void append(std::string_view name, std::string_view value) {
    members_ += fmt::format("{}\"{}\": {}", members_.empty() ? "" : ", ", name, value);
  }

  std::string members_;
};

}  // namespace blockexport::bench
