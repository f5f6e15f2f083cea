// PskFile: users and their keys, as psktool writes them: lines of "user:key in hexadecimal digits". A line that begins
// with '#' and no digits is a remark; a user "#6162" is given in hexadecimal digits too.
//
// Pure functions over bytes, and a value that keeps the bytes where secrets are kept. Thread: any. Lines that are none
// of this are passed over, as GnuTLS does: a file that is half bad still has its good users.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/secret_bytes.h"

namespace blockexport::net {

// Longest key and longest name of a user, in bytes (twice that in digits).
inline constexpr std::size_t kPskKeyBytesMax = 512;
inline constexpr std::size_t kPskUserBytesMax = 256;

// A line of the file, without its end: who it is for, and the digits of the key, which stand in the line.
struct PskLine {
  std::string user;
  std::string_view digits;
};
// Nothing when it is a remark, empty, or nothing of this.
std::optional<PskLine> parse_psk_line(std::string_view line);

class PskFile {
 public:
  PskFile() = default;
  // Takes the content of the file.
  explicit PskFile(SecretBytes content);

  // The digits of the user's key, or nothing. The first line of a user counts. It takes as long for every name of the
  // same length, whether it is there or not.
  std::optional<std::string_view> digits_of(std::string_view user) const;
  std::size_t user_count() const { return users_.size(); }

 private:
  SecretBytes content_;
  std::vector<PskLine> users_;  // their digits stand in content_
};

// The bytes that an even number of hexadecimal digits stand for, or nothing.
std::optional<SecretBytes> from_hexadecimal(std::string_view digits);

}  // namespace blockexport::net
