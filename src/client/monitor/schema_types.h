// SchemaTypes: the types of a daemon's QMP interface, as query-qmp-schema tells them, and words of a command line as
// values of these types.
//
// Takes any reply of a daemon. Plain values; any thread.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/error.h"
#include "json/value.h"

namespace blockexport::monitor {

class SchemaTypes {
 public:
  // `schema`: the reply, which outlives this.
  explicit SchemaTypes(const json::Value& schema);

  // The arguments of a command from words such as "node-name=disk" and "file.driver=raw", each value as a string: the
  // strings become numbers and booleans where the command wants them. A member that the command lacks stays as it is:
  // the daemon refuses it with its own words. Errors: there is no such command, or a value is of another type.
  Result<json::Object> arguments_of(std::string_view command, const json::Object& words) const;

  // A line for each argument of a command: its name, its type, and whether it may be left out.
  Result<std::string> describe(std::string_view command) const;

 private:
  // Levels of types within each other, beside those of the value.
  static constexpr unsigned kDepthMax = 64;

  const json::Object* find(std::string_view name) const;
  Result<const json::Object*> arguments_type(std::string_view command) const;
  Result<json::Value> convert(std::string_view type, const json::Value& value, const std::string& path,
                              unsigned depth) const;
  Result<json::Value> convert_object(const json::Object& type, const json::Object& words, const std::string& path,
                                     unsigned depth) const;
  Result<json::Value> convert_alternate(const json::Object& type, const json::Value& value, const std::string& path,
                                        unsigned depth) const;
  std::string name_of(std::string_view type, unsigned depth) const;
  void describe_members(const json::Object& type, std::string& text) const;

  std::map<std::string, const json::Object*, std::less<>> types_;
};

}  // namespace blockexport::monitor
