// FileOptions: options for opening a host file. Plain values.
#pragma once

#include <cstdint>
#include <string>

namespace blockexport::drivers {

class AllowedDirectories;

enum class FileLocking : std::uint8_t { kAuto, kOn, kOff };
enum class FileAio : std::uint8_t { kThreads, kNative, kIoUring };
// The required type of the file.
enum class FileType : bool { kRegular, kDevice };

struct FileOptions {
  std::string filename = {};
  FileType type = FileType::kRegular;
  bool read_only = false;
  bool auto_read_only = false;  // opens read-only when opening for writing fails
  bool direct = false;          // O_DIRECT: bypass the page cache
  bool no_flush = false;        // flush does nothing: acknowledged writes may be lost when the host fails
  FileLocking locking = FileLocking::kAuto;
  bool drop_cache = true;
  bool keep_cached = true;  // pages that our own requests brought into the page cache stay there
  FileAio aio = FileAio::kThreads;
  // The only directories beneath which the file may be; null: it may be anywhere. They outlive the driver.
  const AllowedDirectories* beneath = nullptr;
};

}  // namespace blockexport::drivers
