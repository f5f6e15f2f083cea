// difference(): comparison of two configurations by ID, over the encoded options with their defaults.
//
// Pure function over decoded, checked configurations; thread: any.
#pragma once

#include <string>
#include <vector>

#include "configuration/reading.h"

namespace blockexport::configuration {

// The effect on the own node of an export.
enum class NodeEffect {
  kNone,     // it has none, or the export is removed
  kKeep,     // it stays as it is
  kReopen,   // it gets other options
  kReplace,  // a new one is opened, or the first one
};

struct Difference {
  Section section;
  std::string id;
  schema::ConfigurationAction action;
  std::vector<std::string> options = {};  // names of those that differ
  NodeEffect node = NodeEffect::kNone;    // of exports
};

struct Differences {
  std::vector<Difference> list;             // by section, then by ID
  std::vector<std::string> live_options;    // of the section daemon: those that change at once, as "log.level"
  std::vector<std::string> daemon_options;  // those that need a restart

  bool empty() const { return list.empty() && live_options.empty() && daemon_options.empty(); }
  const Difference* find(Section section, const std::string& id) const;
};

// Names of the options that the section daemon has, as "log.level".
std::vector<std::string> options_of(const schema::DaemonConfiguration& daemon);

// `reopens`: whether a node whose images are the same is reopened; else it is replaced.
Differences difference(const schema::Configuration& before, const schema::Configuration& after, bool reopens = true);

}  // namespace blockexport::configuration
