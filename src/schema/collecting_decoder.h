// CollectingDecoder: strict decoder of a JSON document that goes on after an error, and so finds all of them.
//
// After an error it skips the value that it could not read. An unknown branch of a union hides the errors in the other
// members of that union, because the members depend on the branch. When an error was found, the decoded value is of no
// use. It also refuses negative numbers where unsigned ones belong. Borrows the document; thread: one at a time.
#pragma once

#include <string>
#include <vector>

#include "schema/decoder.h"

namespace blockexport::schema {

struct DecodingError {
  std::vector<std::string> path;  // names of members and numbers of list elements, outermost first
  std::string message;
  std::string hint;
};

class CollectingDecoder final : public Decoder {
 public:
  // `path_prefix`: the document's own path in messages, or empty. Errors beyond `errors_max` are counted only.
  CollectingDecoder(const json::Value& document, std::string path_prefix, std::size_t errors_max);

  const std::vector<DecodingError>& errors() const { return errors_; }
  std::size_t errors_not_kept() const { return errors_not_kept_; }

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
  bool fail_unexpected(const std::string& name) override;
  // Reports a member that may be a misspelling of the missing one instead.
  void fail_missing(Name name) override;

 private:
  // Keeps the error that a call of Decoder has set. Always returns true.
  bool keep_at(Name name);
  // True if the value that is visited now belongs to one that could not be read.
  bool skips_scalar();

  std::size_t errors_max_;
  std::vector<DecodingError> errors_;
  std::size_t errors_not_kept_ = 0;
  std::vector<bool> hides_errors_;  // of each open object: its branch is unknown
  std::size_t skipped_depth_ = 0;   // open objects and lists inside a skipped value
  bool skips_next_ = false;         // the next value is skipped
  bool reads_enumeration_ = false;  // Decoder::enumeration() reads its text by string()
  std::string misspelling_;         // the member that the next error is about, if not empty
  const char* optional_ = nullptr;  // the optional member that was found last
};

// Decodes `document`; appends the errors to `errors`.
template <class T>
T decode_collecting(const json::Value& document, std::string path_prefix, std::size_t errors_max,
                    std::vector<DecodingError>& errors) {
  CollectingDecoder decoder(document, std::move(path_prefix), errors_max);
  T value{};
  (void)visit(decoder, nullptr, value);
  errors.insert(errors.end(), decoder.errors().begin(), decoder.errors().end());
  return value;
}

}  // namespace blockexport::schema
