// PskFile: pre-shared keys of users, in the format of GnuTLS's psktool: lines "user:key", the key in hexadecimal
// digits. A line that begins with '#' but has no such digits is a comment; in a line "#6162:key" the user is in
// hexadecimal digits too.
//
// Pure functions over bytes, and a value that keeps the bytes in a SecretBytes. Thread: any. Invalid lines are skipped,
// as GnuTLS does, so the valid lines of a damaged file still work.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/secret_bytes.h"

namespace blockexport::net {

// Longest key and longest user name, in bytes (each takes two digits).
inline constexpr std::size_t kPskKeyBytesMax = 512;
inline constexpr std::size_t kPskUserBytesMax = 256;

// A parsed line of the file: the user, and the digits of the key, which point into the line.
struct PskLine {
  std::string user;
  std::string_view digits;
};
// Parses a line without its end. Nothing when it is a comment, empty or invalid.
std::optional<PskLine> parse_psk_line(std::string_view line);

class PskFile {
 public:
  PskFile() = default;
  // Takes the content of the file.
  explicit PskFile(SecretBytes content);

  // The digits of the user's key, or nothing. The first line of a user counts. The time depends only on the length of
  // the name, not on whether the user exists.
  std::optional<std::string_view> digits_of(std::string_view user) const;
  std::size_t user_count() const { return users_.size(); }

 private:
  SecretBytes content_;
  std::vector<PskLine> users_;  // the digits point into content_
};

// Decodes an even number of hexadecimal digits; nothing when they are invalid.
std::optional<SecretBytes> from_hexadecimal(std::string_view digits);

}  // namespace blockexport::net
