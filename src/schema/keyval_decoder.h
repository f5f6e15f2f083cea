// KeyvalDecoder: a Decoder for options written as key=value, where every scalar is a string.
//
// Strings become what the schema asks for: on/off, integers in C's notation, sizes with suffixes, names of enums.
// Keys with dots and indices have become objects and arrays before (json/keyval.h).
// Thread: one at a time. Use decode_keyval<T>() of schema/codec.h.
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

// on, yes, true, y; off, no, false, n.
std::optional<bool> parse_boolean(std::string_view text);
// C's notation: blanks, a sign, 0x or 0 for the base.
std::optional<std::int64_t> parse_integer(const std::string& text);
// The same; a negative number wraps.
std::optional<std::uint64_t> parse_unsigned(const std::string& text);
// Bytes: a decimal number, with a fraction and one of B K M G T P E (powers of 1024) if wanted; or 0x and hex digits.
std::optional<std::uint64_t> parse_size(std::string_view text);
// A finite floating-point number.
std::optional<double> parse_number(const std::string& text);

}  // namespace blockexport::schema
