// What the permissions and the owner of a file let others do with it: read a key that stands in it, or change what is
// trusted; and the command that mends it. Pure functions over what stat(2) told. Thread: any. Never touches the file.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>

namespace blockexport {

// What others must not be able to do with a file.
enum class FileSecrecy {
  kPublic,   // change it
  kPrivate,  // read or change it
};

// What is wrong with the file and how to mend it, as "its mode 0644 lets others have the key; mend it with: chmod 600
// PATH"; nothing when all is well. A private file may be read by its group, as packages set it up, and belongs to root
// or to `user`, who uses it; of a public one everybody may know the content. A file that has no name any longer, and
// what is no regular file, is not judged: its mode says nothing. `path` is quoted for a shell where that is needed.
std::optional<std::string> find_exposure(const std::string& path, const struct stat& status, FileSecrecy secrecy,
                                         uid_t user);

// `text` as one word of a shell's command line.
std::string shell_word(const std::string& text);

}  // namespace blockexport
