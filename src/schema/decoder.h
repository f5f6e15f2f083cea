// Decoder: strict decoder of a JSON document into a typed value, with QSD's error texts.
//
// Members are read in the schema's order; after an object's known members, unknown names are an error. The first error
// ends the decoding; its hint suggests a correction (schema/hints.h). It borrows the document. Use decode<T>() of
// schema/codec.h. Thread: one at a time. It allocates no more memory than the document it has read.
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

  // The error. Call it once, after a call has returned false.
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
  // Returns the value at `name` and marks it as known; sets the error and returns null when it is missing.
  const json::Value* take(Name name);
  // The same, but it neither marks the value nor sets the error.
  const json::Value* peek(Name name) const;
  // The path of `name` in the document: addr.data.path, options[0].driver.
  std::string path(Name name) const;
  // The same as components: names of members, and numbers of elements.
  std::vector<std::string> path_components(Name name) const;
  // The text of a list's element in a path.
  virtual std::string element_text(std::size_t index) const;
  // The branch of an alternate that accepts a string.
  virtual std::optional<std::size_t> string_branch(std::string_view text, std::span<const JsonKind> kinds) const;

  // An unknown member of the innermost object. A true result ignores it.
  virtual bool fail_unexpected(const std::string& name);
  // A member that the innermost object, or the document, lacks.
  virtual void fail_missing(Name name);
  // The unknown member of the innermost object that is most like `name`, and counts as known from now on; nullopt when
  // none is similar.
  std::optional<std::string_view> take_misspelling(Name name);

  // Each sets the error and returns false.
  bool fail(std::string message, std::string hint = {});
  bool fail_type(Name name, const char* expected);
  bool fail_expects(Name name, const char* expected);

  // Path of the document itself in messages, without a final dot; empty when messages name its members alone.
  std::string path_prefix_;

 private:
  struct Frame {
    const json::Value* value;     // an object or an array
    Name name;                    // its name in the enclosing frame
    std::size_t next;             // for arrays: the next element
    std::size_t first_known;      // for objects: index into known_
    std::size_t first_requested;  // for objects: index into requested_
  };

  // Records that the schema's innermost object has a member `name`.
  void note_requested(Name name);
  // Hint about an unknown member `name` of the innermost object.
  std::string hint_for_unexpected(std::string_view name) const;
  // Hint about a missing member `name`: a member that may be its misspelling.
  std::string hint_for_missing(Name name) const;
  // Members of the innermost object that the schema has not requested so far; empty for a list or the document.
  std::vector<std::string_view> unknown_members() const;

  const json::Value& document_;
  std::vector<Frame> frames_;
  std::vector<std::string_view> known_;      // members that were read and found, of all open objects
  std::vector<std::string_view> requested_;  // members that the schema has, of all open objects; may contain duplicates
  std::optional<Error> error_;
};

}  // namespace blockexport::schema
