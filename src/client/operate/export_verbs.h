// `blockexport add`, `del` and `resize`: change the exports of a running daemon.
//
// Main thread; they block until the daemon has answered. They print to standard output; errors are returned.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "client/monitor/backup_verbs.h"

namespace blockexport::operate {

// Longest name of a node, and so of an export that `add` makes, in bytes.
inline constexpr std::size_t kAddedIdBytesMax = 31;

struct AddOptions {
  monitor::MonitorOptions monitor = {};
  std::string image = {};
  std::string format = {};       // empty: raw, unless the file has the magic number of another one
  std::string id = {};           // of the export and of its node; empty: the name of the file
  std::string export_name = {};  // the name for clients; empty: the ID
  std::string description = {};
  bool is_writable = false;
};

struct DelOptions {
  monitor::MonitorOptions monitor = {};
  std::string id = {};
  std::string mode = "safe";  // as BlockExportRemoveMode
  bool keeps_node = false;
};

struct ResizeOptions {
  monitor::MonitorOptions monitor = {};
  std::string id = {};
  std::string size = {};  // as parse_size() takes it
};

// Opens the image as a node and exports it; when the export fails, removes the node again.
Result<> add_export(const AddOptions& options);
// Removes the export, and its node if both have one name, as `add` makes them, and nothing else uses it.
Result<> delete_export(const DelOptions& options);
// Gives the node of the export another size; a node in use can only grow.
Result<> resize_export(const ResizeOptions& options);

// Bytes from "1000", "10G", or with a '+' before it what is added to `present_bytes`. Suffixes k, M, G, T, P and E, in
// powers of 1024. Nothing: it is no size, or larger than 2^63 - 1 bytes.
std::optional<std::uint64_t> parse_size(std::string_view text, std::uint64_t present_bytes);

// An ID that QMP takes, from the path of an image: the name of the file. Empty: that is none.
std::string id_of_file(std::string_view path);

}  // namespace blockexport::operate
