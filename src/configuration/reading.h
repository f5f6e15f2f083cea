// read_configuration(): a configuration from its files: reads and parses all of them, joins them, decodes every section
// strictly, and checks what can be checked without the daemon (configuration/check.h).
//
// May block on the file system: call it on a worker thread, or before the process serves. It finds all errors, not only
// the first. Plain values.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "configuration/finding.h"
#include "schema/config.h"

namespace blockexport::configuration {

// The sections whose tables are objects by ID, in the order in which the objects are made.
enum class Section { kObjects, kChardevs, kMonitors, kNodes, kServers, kExports };
inline constexpr Section kSections[] = {Section::kObjects, Section::kChardevs, Section::kMonitors,
                                        Section::kNodes,   Section::kServers,  Section::kExports};
std::string_view name_of(Section section);

// The places of everything in the files.
class Places {
 public:
  // `path`: names of members and numbers of elements, from the section on. The place of the innermost member of the
  // path that the files have; without any, an empty one.
  Place find(std::vector<std::string> path) const;
  // The same for an object of a section, and for one of its members.
  Place of(Section section, const std::string& id, std::string_view member = {}) const;

  // `path`: as a path_key(). Keeps the first place of a path.
  void add(std::string path, std::size_t file, std::size_t line, std::size_t column);
  void set_files(std::vector<std::string> files) { files_ = std::move(files); }

 private:
  struct Position {
    std::size_t file;
    std::size_t line;
    std::size_t column;
  };
  std::vector<std::string> files_;
  std::unordered_map<std::string, Position> positions_;
};

struct ReadConfiguration {
  std::string path;                // of the main file
  std::vector<std::string> files;  // all files, in their order
  schema::Configuration content;   // meaningful if there are no findings
  Places places;
  Findings findings;
};

// `path`: the main file. The result has been decoded; check() has not run.
ReadConfiguration read_configuration(const std::string& path);

}  // namespace blockexport::configuration
