// The files of a configuration: the one that --config names, the fragments in conf.d beside it, and the exports in
// exports.d, of which each has a file of its own.
//
// Reads the file system and may block: call it on a worker thread, or before the process serves. Any content is
// allowed; errors are findings.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/wiped_text.h"
#include "configuration/finding.h"

namespace blockexport::configuration {

// Most bytes of one file, and of all files together.
inline constexpr std::size_t kConfigurationFileBytesMax = std::size_t{4} << 20;
inline constexpr std::size_t kConfigurationBytesMax = std::size_t{64} << 20;
// Most files of a configuration.
inline constexpr std::size_t kConfigurationFilesMax = 65536;

enum class FileKind {
  kWhole,   // a file with sections
  kExport,  // a file of exports.d
};

struct ConfigurationFile {
  std::string path;  // as messages show it
  FileKind kind = FileKind::kWhole;
  std::string id;  // of an export: the name of the file without its ending
  WipedText text = {};
  // Other users can read the file; the text says how to correct that. Empty when only its owner and group root can.
  std::string read_exposure = {};

  bool is_json() const { return path.ends_with(".json"); }
};

struct ConfigurationFiles {
  std::vector<ConfigurationFile> files;  // in their order
  std::vector<std::string> paths;        // of all files, those included that could not be read
};

// Reads one file, which only its owner may be able to change. Nullopt: it cannot be used, which is a finding.
std::optional<WipedText> read_file(const std::string& path, Findings& findings);

// Reads the file at `path` and those beside it: names that end with ".toml" or ".json" and do not begin with a dot,
// sorted by their bytes. Refuses files and folders that other users can change.
ConfigurationFiles read_files(const std::string& path, Findings& findings);

}  // namespace blockexport::configuration
