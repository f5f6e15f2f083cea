// Findings: results of `blockexport tls check` about each file and about a handshake.
//
// A value that is first filled and then printed. Thread: any.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace blockexport::client {

struct Finding {
  enum class Grade { kFine, kWarning, kFault };
  Grade grade;
  std::string subject;  // a file's name, or "handshake"
  std::string text;
};

class Findings {
 public:
  void fine(std::string_view subject, std::string text) { add(Finding::Grade::kFine, subject, std::move(text)); }
  void warn(std::string_view subject, std::string text) { add(Finding::Grade::kWarning, subject, std::move(text)); }
  void fault(std::string_view subject, std::string text) { add(Finding::Grade::kFault, subject, std::move(text)); }

  // Adds all findings of `others`, with a prefix for their subjects.
  void add_all(std::string_view prefix, const Findings& others);

  bool has_fault() const;
  // True if there is a fault about this subject.
  bool has_fault(std::string_view subject) const;
  std::string text() const;

 private:
  void add(Finding::Grade grade, std::string_view subject, std::string text) {
    list_.push_back({.grade = grade, .subject = std::string(subject), .text = std::move(text)});
  }
  std::vector<Finding> list_;
};

}  // namespace blockexport::client
