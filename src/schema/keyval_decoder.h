// KeyvalDecoder: a Decoder for key=value options, in which every scalar is a string.
//
// Converts strings to the schema's types: on/off, integers in C's notation, sizes with suffixes, names of enums.
// json/keyval.h has already converted keys with dots and indices to objects and arrays. Thread: one at a time. Use
// decode_keyval<T>() of schema/codec.h.
#pragma once

#include "schema/decoder.h"

namespace blockexport::schema {

class KeyvalDecoder final : public Decoder {
 public:
  using Decoder::Decoder;

  bool boolean(Name name, bool& value) override;
  bool integer(Name name, std::int64_t& value) override;
  bool unsigned_integer(Name name, std::uint64_t& value) override;
  bool size(Name name, std::uint64_t& bytes) override;
  bool number(Name name, double& value) override;
  bool string(Name name, std::string& value) override;

 protected:
  std::string element_text(std::size_t index) const override;
  std::optional<std::size_t> string_branch(std::string_view text, std::span<const JsonKind> kinds) const override;

 private:
  const std::string* take_string(Name name);
};

// Accepts on, yes, true, y; off, no, false, n.
std::optional<bool> parse_boolean(std::string_view text);
// Accepts C's notation: blanks, a sign, 0x or 0 for the base.
std::optional<std::int64_t> parse_integer(const std::string& text);
// The same; a negative number wraps.
std::optional<std::uint64_t> parse_unsigned(const std::string& text);
// Accepts a size in bytes: a decimal number, optionally with a fraction and a suffix of B K M G T P E (powers of 1024);
// or 0x and hex digits.
std::optional<std::uint64_t> parse_size(std::string_view text);
// Accepts a finite floating-point number.
std::optional<double> parse_number(const std::string& text);

}  // namespace blockexport::schema
