// FileOptions: how to open a host file. Plain values.
#pragma once

#include <cstdint>
#include <string>

namespace blockexport::drivers {

enum class FileLocking : std::uint8_t { kAuto, kOn, kOff };
enum class FileAio : std::uint8_t { kThreads, kNative, kIoUring };
// What the path must be.
enum class FileType : bool { kRegular, kDevice };

struct FileOptions {
  std::string filename = {};
  FileType type = FileType::kRegular;
  bool read_only = false;
  bool auto_read_only = false;  // read-only when it cannot be opened for writing
  bool direct = false;          // around the page cache
  bool no_flush = false;        // flush does nothing; what was acknowledged may be lost with the host
  FileLocking locking = FileLocking::kAuto;
  bool drop_cache = true;
  bool keep_cached = true;  // pages that our own requests brought into the page cache
  FileAio aio = FileAio::kThreads;
};

}  // namespace blockexport::drivers
