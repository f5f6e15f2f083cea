// Compiled with exceptions, which CLI11 needs; none leaves command_line.cc.
#include "client/command_tree.h"

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace blockexport::client {
namespace {

// The choices that a validator of CLI11 shows in the name of a type, such as "TEXT:{raw,qcow2}".
json::Array choices_in(std::string_view type_name) {
  json::Array choices;
  const std::size_t begin = type_name.find('{');
  const std::size_t end = type_name.find('}');
  if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) return choices;
  std::string_view rest = type_name.substr(begin + 1, end - begin - 1);
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    choices.push_back(rest.substr(0, comma));
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  }
  return choices;
}

// What options and arguments have in common.
json::Object described(const CLI::Option& option) {
  const std::string type_name = option.get_type_name();
  json::Object entry{{"description", option.get_description()},
                     {"required", option.get_required()},
                     {"repeatable", option.get_items_expected_max() > 1}};
  if (json::Array choices = choices_in(type_name); !choices.empty()) entry.set("choices", std::move(choices));
  if (option.get_items_expected_max() > 0 && option.get_items_expected_min() > 0) {
    entry.set("value", type_name.substr(0, type_name.find_first_of(":[ ")));
  }
  return entry;
}

void add_options(const CLI::App& app, json::Array& options, json::Array& arguments) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;
    json::Object entry = described(*option);
    if (option->get_positional()) {
      entry.set("name", option->get_name());
      arguments.push_back(std::move(entry));
      continue;
    }
    json::Array names;
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    entry.set("names", std::move(names));
    options.push_back(std::move(entry));
  }
}

}  // namespace

json::Object command_tree(const CLI::App& app) {
  json::Array options;
  json::Array arguments;
  json::Array commands;
  add_options(app, options, arguments);
  for (const CLI::App* one : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (one->get_group().empty()) continue;
    if (one->get_name().empty()) {
      // A group of options of this command.
      add_options(*one, options, arguments);
    } else {
      commands.push_back(command_tree(*one));
    }
  }
  return {{"name", app.get_name()},
          {"description", app.get_description()},
          {"options", std::move(options)},
          {"arguments", std::move(arguments)},
          {"commands", std::move(commands)}};
}

}  // namespace blockexport::client
