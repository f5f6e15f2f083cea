// Commands, options and values that qemu-storage-daemon's schema has and ours lacks, so that a hint can tell them from
// misspellings.
//
// The table is constant (elsewhere_table.cc) and generated from the recorded schema of the newest version; the daemon
// parses nothing. Thread: any.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace blockexport::schema {

enum class ElsewhereSort { kCommand, kOption, kValue };

struct ElsewhereWord {
  ElsewhereSort sort;
  // Key of the object or member that would contain the word. For an option: the object's first member, and, if the
  // option belongs to a branch, a blank and the tag's value. For a value: the member's name, a blank, and the first
  // value that we accept. For a command: empty.
  std::string_view context;
  std::string_view word;
};

// The version of qemu-storage-daemon in the table: "11.1".
extern const std::string_view kElsewhereVersion;

std::span<const ElsewhereWord> elsewhere_words();

// "'vmdk' is known to qemu-storage-daemon 11.1, and is not built here yet." Empty when the table does not have it.
std::string elsewhere_note(ElsewhereSort sort, std::string_view context, std::string_view word);

}  // namespace blockexport::schema
