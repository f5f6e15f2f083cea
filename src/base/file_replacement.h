// replace_file(): replaces the content of a small file, so that after a crash or a power cut it has the old content or
// the new one.
//
// It writes a new file beside the old one, flushes it, renames it over the old one and flushes the directory. Blocks in
// the file system. Thread: any, one at a time for one file.
#pragma once

#include <string>
#include <string_view>

#include "base/errno.h"
#include "base/error.h"
#include "base/owned_fd.h"

namespace blockexport {

// The calls that a replacement makes; tests have others.
class ReplacementCalls {
 public:
  virtual ~ReplacementCalls() = default;
  // Creates the new file, or empties the one that a crash has left, and writes all bytes.
  virtual IoResult write_new(std::string_view bytes) = 0;
  virtual IoResult flush_new() = 0;
  virtual IoResult rename_new() = 0;
  virtual IoResult flush_directory() = 0;
};

// Errors: as "cannot write 'DESCRIPTION': ...". Before the rename the old content stays; behind it, the new content may
// be lost by a power cut.
Result<> replace_file(ReplacementCalls& calls, std::string_view description, std::string_view bytes);

// A file in an open directory, which is borrowed. The new file is for its owner alone, and called NAME.new meanwhile.
class FileInDirectory final : public ReplacementCalls {
 public:
  FileInDirectory(int directory, std::string name) : directory_(directory), name_(std::move(name)) {}

  IoResult write_new(std::string_view bytes) override;
  IoResult flush_new() override;
  IoResult rename_new() override;
  IoResult flush_directory() override;

 private:
  const int directory_;
  const std::string name_;
  OwnedFd new_;
};

}  // namespace blockexport
