// Decoder: reads a typed value out of a JSON document, strictly, with QMP's error texts.
//
// Members are read in the schema's order; names that nobody asked for are an error once an object's known members are
// read. The first thing wrong ends it; its hint says what was meant (schema/hints.h). It borrows the document. Use
// decode<T>() of schema/codec.h.
// Thread: one at a time. Bounded by the document: it allocates no more than what it has read.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "json/value.h"
#include "schema/visitor.h"

namespace blockexport::schema {

class Decoder : public Visitor {
 public:
  explicit Decoder(const json::Value& document) : document_(document) {}
  virtual ~Decoder() = default;

  // What went wrong; only after a call returned false, once.
  Error take_error() { return std::move(*error_); }

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

 protected:
  // The value at `name`, which is thereby known; null, and the error set, when it is missing.
  const json::Value* take(Name name);
  // The same without making it known and without an error.
  const json::Value* peek(Name name) const;
  // Where `name` is in the document: addr.data.path, options[0].driver.
  std::string path(Name name) const;
  // How a list's element is written in a path.
  virtual std::string element_text(std::size_t index) const;
  // The branch of an alternate that fits a string.
  virtual std::optional<std::size_t> string_branch(std::string_view text, std::span<const JsonKind> kinds) const;

  // Each sets the error and gives false.
  bool fail(std::string message, std::string hint = {});
  bool fail_type(Name name, const char* expected);
  bool fail_expects(Name name, const char* expected);

 private:
  struct Frame {
    const json::Value* value;  // an object or an array
    Name name;                 // in the frame around it
    std::size_t next;          // the element that comes next; of arrays
    std::size_t first_known;   // into known_; of objects
    std::size_t first_asked;   // into asked_; of objects
  };

  // `name` is one of the members of the innermost object.
  void note_asked(Name name);
  // What may have been meant by the member `name` of the innermost object, which the schema does not have.
  std::string hint_for_unexpected(std::string_view name) const;
  // Which member may have been written for `name`, which is missing.
  std::string hint_for_missing(Name name) const;

  const json::Value& document_;
  std::vector<Frame> frames_;
  std::vector<std::string_view> known_;  // names asked for and found, of all open objects
  std::vector<std::string_view> asked_;  // names asked for, of all open objects; some stand there twice
  std::optional<Error> error_;
};

}  // namespace blockexport::schema
