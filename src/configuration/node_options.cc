#include "configuration/node_options.h"

#include <algorithm>
#include <map>

#include "block/graph.h"

namespace blockexport::configuration {
namespace {

void add_references(const schema::BlockdevOptions& options, std::set<std::string>& found) {
  for (const block::ChildReference& child : block::child_references(options)) {
    if (child.node != nullptr) found.insert(*child.node);
    if (child.definition != nullptr) add_references(*child.definition, found);
  }
}

void add_names(const schema::BlockdevOptions& options, std::vector<std::string>& found) {
  if (options.node_name) found.push_back(*options.node_name);
  for (const block::ChildReference& child : block::child_references(options)) {
    if (child.definition != nullptr) add_names(*child.definition, found);
  }
}

const std::string* filename_of(const schema::BlockdevOptions& options) {
  if (const auto* file = options.as_if<schema::BlockdevDriver::kFile>()) return &file->filename;
  if (const auto* device = options.as_if<schema::BlockdevDriver::kHostDevice>()) return &device->filename;
  return nullptr;
}

bool name_same_file(const schema::BlockdevOptions& a, const schema::BlockdevOptions& b) {
  const std::string* first = filename_of(a);
  const std::string* second = filename_of(b);
  if (first == nullptr || second == nullptr) return first == second;
  return *first == *second;
}

}  // namespace

std::set<std::string> references_of(const schema::BlockdevOptions& options) {
  std::set<std::string> found;
  add_references(options, found);
  return found;
}

std::vector<std::string> names_in(const schema::BlockdevOptions& options) {
  std::vector<std::string> found;
  add_names(options, found);
  return found;
}

bool have_same_images(const schema::BlockdevOptions& a, const schema::BlockdevOptions& b) {
  if (a.driver() != b.driver() || !name_same_file(a, b)) return false;
  const std::vector<block::ChildReference> first = block::child_references(a);
  const std::vector<block::ChildReference> second = block::child_references(b);
  return std::ranges::equal(first, second, [](const block::ChildReference& one, const block::ChildReference& other) {
    if (one.name != other.name) return false;
    if (one.node != nullptr && other.node != nullptr) return *one.node == *other.node;
    if (one.definition != nullptr && other.definition != nullptr) {
      return have_same_images(*one.definition, *other.definition);
    }
    return false;
  });
}

std::optional<std::vector<schema::BlockdevOptions>> in_opening_order(
    const std::vector<schema::BlockdevOptions>& nodes) {
  std::map<std::string, std::size_t> waits_for;  // number of references that are not in order yet
  std::map<std::string, std::vector<std::string>> needed_by;
  std::map<std::string, const schema::BlockdevOptions*> by_name;
  for (const schema::BlockdevOptions& node : nodes) by_name.emplace(node.node_name.value_or(""), &node);
  std::vector<std::string> ready;
  for (const auto& [name, node] : by_name) {
    std::size_t& count = waits_for[name];
    for (const std::string& reference : references_of(*node)) {
      if (!by_name.contains(reference)) continue;
      ++count;
      needed_by[reference].push_back(name);
    }
    if (count == 0) ready.push_back(name);
  }
  std::vector<schema::BlockdevOptions> ordered;
  for (std::size_t i = 0; i < ready.size(); ++i) {
    const std::string name = ready[i];
    ordered.push_back(*by_name.at(name));
    for (const std::string& above : needed_by[name]) {
      if (--waits_for[above] == 0) ready.push_back(above);
    }
  }
  if (ordered.size() < by_name.size()) return std::nullopt;
  return ordered;
}

std::optional<schema::BlockdevOptions> own_node_of(const schema::ExportConfiguration& one) {
  if (!one.node) return std::nullopt;
  schema::BlockdevOptions options = *one.node;
  if (!options.node_name) options.node_name = one.id;
  return options;
}

schema::BlockExportOptions export_options_of(const schema::ExportConfiguration& one) {
  const std::optional<schema::BlockdevOptions> node = own_node_of(one);
  schema::BlockExportOptions options{.id = one.id,
                                     .fixed_iothread = one.fixed_iothread,
                                     .iothread = one.iothread,
                                     .node_name = node ? *node->node_name : one.node_name.value_or(""),
                                     .writable = one.writable,
                                     .writethrough = one.writethrough};
  options.branch = schema::BlockExportOptionsNbd{.name = one.name.value_or(one.id),
                                                 .description = one.description,
                                                 .bitmaps = one.bitmaps,
                                                 .allocation_depth = one.allocation_depth,
                                                 .tls_authz = one.tls_authz};
  return options;
}

}  // namespace blockexport::configuration
