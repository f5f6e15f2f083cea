#include "base/file_exposure.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace blockexport {
namespace {

constexpr mode_t kPermissions = 07777;
constexpr mode_t kOthersRead = S_IRWXO | S_IWGRP;

bool is_plain(char letter) {
  constexpr std::string_view kPlain = "/._-+:@%,=";
  return (letter >= '0' && letter <= '9') || (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
         kPlain.find(letter) != std::string_view::npos;
}

std::optional<std::string> find_private(const std::string& path, const struct stat& status, uid_t user) {
  const bool is_open = (status.st_mode & kOthersRead) != 0;
  const bool is_foreign = status.st_uid != user && status.st_uid != 0;
  if (!is_open && !is_foreign) return std::nullopt;
  const std::string word = shell_word(path);
  std::string fault;
  if (is_open) fault = fmt::format("its mode {:04o} lets other users read the key", status.st_mode & kPermissions);
  if (is_foreign) {
    fault += fmt::format("{}it belongs to user {}, who is neither root nor us", fault.empty() ? "" : ", and ",
                         status.st_uid);
  }
  // After the change this process must still be able to read the file: chmod alone could lock it out, so chown comes
  // first.
  std::string mend;
  if (status.st_uid != user) mend = fmt::format("chown {} {}", user, word);
  if (is_open) mend += fmt::format("{}chmod 600 {}", mend.empty() ? "" : " && ", word);
  return fmt::format("{}; fix it with: {}", fault, mend);
}

}  // namespace

std::optional<std::string> find_exposure(const std::string& path, const struct stat& status, FileSecrecy secrecy,
                                         uid_t user) {
  if (!S_ISREG(status.st_mode) || status.st_nlink == 0) return std::nullopt;
  if (secrecy == FileSecrecy::kPrivate) return find_private(path, status, user);
  if ((status.st_mode & S_IWOTH) == 0) return std::nullopt;
  return fmt::format("its mode {:04o} lets everybody change what is trusted; fix it with: chmod o-w {}",
                     status.st_mode & kPermissions, shell_word(path));
}

std::string shell_word(const std::string& text) {
  if (!text.empty() && std::ranges::all_of(text, is_plain)) return text;
  std::string word = "'";
  for (char letter : text) {
    if (letter == '\'') {
      word += "'\\''";
    } else {
      word += letter;
    }
  }
  return word + "'";
}

}  // namespace blockexport
