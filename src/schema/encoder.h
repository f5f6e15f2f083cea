// Encoder: encoder of a typed value into a JSON document. It cannot fail.
//
// Omits absent optional members. Use encode() of schema/codec.h. Thread: one at a time.
#pragma once

#include <vector>

#include "json/value.h"
#include "schema/visitor.h"

namespace blockexport::schema {

class Encoder final : public Visitor {
 public:
  ~Encoder() = default;

  // Returns the document. Call it once, after the visit.
  json::Value take() { return std::move(document_); }

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
  struct Frame {
    Name name;
    json::Value value;  // an object or an array
  };

  bool put(Name name, json::Value value);
  bool close();

  std::vector<Frame> frames_;
  json::Value document_;
};

}  // namespace blockexport::schema
