#include "common/args.h"

#include <charconv>

#include "common/fatal.h"

namespace blockexport::bench {

Args::Args(int count, char** values) {
  for (int i = 1; i < count; ++i) {
    std::string_view word = values[i];
    if (word == "--") {
      rest_.assign(values + i + 1, values + count);
      return;
    }
    if (!word.starts_with("--")) {
      fatal("expected --name=value, got '{}'", word);
    }
    word.remove_prefix(2);
    std::size_t equals = word.find('=');
    std::string_view value = equals == std::string_view::npos ? "on" : word.substr(equals + 1);
    given_.insert_or_assign(std::string(word.substr(0, equals)), std::string(value));
  }
}

const std::string* Args::find(std::string_view name) {
  known_.emplace(name);
  auto it = given_.find(name);
  return it == given_.end() ? nullptr : &it->second;
}

std::string Args::text(std::string_view name, std::string_view fallback) {
  const std::string* value = find(name);
  return value != nullptr ? *value : std::string(fallback);
}

uint64_t Args::number(std::string_view name, uint64_t fallback) {
  const std::string* value = find(name);
  if (value == nullptr) {
    return fallback;
  }
  constexpr std::string_view kSuffixes = "KMGT";
  uint64_t number = 0;
  const char* end = value->data() + value->size();
  auto [at, error] = std::from_chars(value->data(), end, number);
  if (error == std::errc() && at + 1 == end && kSuffixes.contains(*at)) {
    number <<= 10 * (kSuffixes.find(*at) + 1);
    ++at;
  }
  if (error != std::errc() || at != end) {
    fatal("--{}: '{}' is not a number", name, *value);
  }
  return number;
}

bool Args::flag(std::string_view name) {
  const std::string* value = find(name);
  return value != nullptr && *value != "off";
}

void Args::finish() const {
  for (const auto& [name, value] : given_) {
    if (!known_.contains(name)) {
      fatal("unknown option --{}", name);
    }
  }
}

}  // namespace blockexport::bench
