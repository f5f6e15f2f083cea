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
  struct User {
    std::string name;
    std::string_view digits;
  };
  void take_line(std::string_view line);

  SecretBytes content_;
  std::vector<User> users_;
};

// The bytes that an even number of hexadecimal digits stand for, or nothing.
std::optional<SecretBytes> from_hexadecimal(std::string_view digits);

}  // namespace blockexport::net
