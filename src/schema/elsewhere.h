// Words that qemu-storage-daemon's schema has and ours has not: what a person wrote is right there, and no slip.
//
// The table is constant (elsewhere_table.cc) and written from the recorded schema of the newest version; nothing is
// parsed when the daemon runs. Thread: any.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace blockexport::schema {

enum class ElsewhereSort { kCommand, kOption, kValue };

struct ElsewhereWord {
  ElsewhereSort sort;
  // Of an option: the first member of the object, and behind a blank the value of its tag where it belongs to a branch.
  // Of a value: the name of the member, and behind a blank the first value that we take. Of a command: empty.
  std::string_view place;
  std::string_view word;
};

// Of qemu-storage-daemon: "11.1".
extern const std::string_view kElsewhereVersion;

std::span<const ElsewhereWord> elsewhere_words();

// "'qcow2' is known to qemu-storage-daemon 11.1, and is not built here yet." Empty when it is not known there.
std::string elsewhere_note(ElsewhereSort sort, std::string_view place, std::string_view word);

}  // namespace blockexport::schema
