// Args: the command line of a benchmark program: `--name=value`, `--name` for a switch, and `--` before a foreign
// command.
//
// Every getter names the option and its default in one place. finish() refuses options that no getter asked for, so a
// misspelt option can not silently measure something else.
// Thread: the main one, at start. Owns copies of the strings.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace blockexport::bench {

class Args {
 public:
  Args(int count, char** values);

  std::string text(std::string_view name, std::string_view fallback);

  // A number with an optional binary suffix K, M, G or T. Anything else is fatal.
  uint64_t number(std::string_view name, uint64_t fallback);

  // True when `--name` or `--name=on` was given.
  bool flag(std::string_view name);

  // The words after `--`.
  const std::vector<std::string>& rest() const { return rest_; }

  // Ends the program if an option was given that no getter asked for.
  void finish() const;

 private:
  const std::string* find(std::string_view name);

  std::map<std::string, std::string, std::less<>> given_;
  std::set<std::string, std::less<>> known_;
  std::vector<std::string> rest_;
};

}  // namespace blockexport::bench
