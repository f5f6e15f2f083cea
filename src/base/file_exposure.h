// Check of a file's mode and owner: whether other users can read a private key in it, or change a file that we trust;
// and the command that corrects it. Pure functions over a result of stat(2). Thread: any. Never touches the file.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>

namespace blockexport {

// The access to a file that other users must not have.
enum class FileSecrecy {
  kPublic,   // change it
  kPrivate,  // read or change it
};

// The fault and the command that corrects it, as "its mode 0644 lets other users read the key; fix it with: chmod 600
// PATH"; nothing when there is no fault. A private file may be readable by its group, as packages install it, and must
// belong to root or to `user`, the user of this process; a public file may be readable by everybody. A file that was
// unlinked, or is not a regular file, is not checked, because its mode says nothing about access. The command quotes
// `path` for a shell where needed.
std::optional<std::string> find_exposure(const std::string& path, const struct stat& status, FileSecrecy secrecy,
                                         uid_t user);

// `text` as one word of a shell's command line.
std::string shell_word(const std::string& text);

}  // namespace blockexport
