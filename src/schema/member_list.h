// MemberLister: lists the members of a schema's type for the help of the command line.
//
// A visitor that records the members it visits and reads no values. Of a union it lists the branch that `document`
// selects, else the first one; a reference to another node is one member, and so is a type that contains itself. Use
// list_members<T>(). Thread: one at a time; the document is borrowed.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "json/value.h"
#include "schema/visitor.h"

namespace blockexport::schema {

struct MemberDescription {
  std::string name;  // with the names of the enclosing objects: "cache.direct", "bitmaps.0"
  std::string type;  // "string", "int", "size", "number", "bool", "any", or the values: "auto|on|off"
  bool is_required = false;
};

class MemberLister final : public Visitor {
 public:
  explicit MemberLister(const json::Value& document) : document_(document) {}
  std::vector<MemberDescription> take() { return std::move(members_); }

  bool begin_object(Name name) override;
  bool end_object() override;
  bool begin_list(Name name, std::size_t& count) override;
  bool end_list() override;
  bool optional(Name name, bool has) override;
  bool alternate(Name name, const char* type, std::span<const JsonKind> kinds, std::size_t& which) override;
  bool boolean(Name name, bool& value) override;
  bool integer(Name name, std::int64_t& value) override;
  bool unsigned_integer(Name name, std::uint64_t& value) override;
  bool size(Name name, std::uint64_t& bytes) override;
  bool number(Name name, double& value) override;
  bool string(Name name, std::string& value) override;
  bool null(Name name) override;
  bool any(Name name, json::Value& value) override;
  bool enumeration(Name name, std::span<const std::string_view> names, std::size_t& index) override;
  bool out_of_range(Name name, const char* c_type) override;

 private:
  // An open object or list.
  struct Frame {
    std::string prefix;           // prefix of the names of its members
    const json::Value* document;  // its value in the document; null: none
    bool is_optional;             // it or an enclosing one is optional
    bool is_hidden;               // part of a member that was listed as a whole
  };

  std::string full_name(Name name) const;
  const json::Value* written(Name name) const;
  void open(Name name);
  // Always true.
  bool note(Name name, std::string type);

  const json::Value& document_;
  std::vector<Frame> frames_;
  std::vector<MemberDescription> members_;
  bool next_is_optional_ = false;
  bool next_is_hidden_ = false;
};

// The members of a T, in the schema's order. `document`: the result of json::parse_keyval() for the option.
template <class T>
std::vector<MemberDescription> list_members(const json::Value& document) {
  MemberLister lister(document);
  T value{};
  visit(lister, nullptr, value);
  return lister.take();
}

}  // namespace blockexport::schema
