// print(): formatted text for a person, on standard output or standard error, before the process serves anybody.
//
// A text that cannot be written (the reader has gone, the disk is full) is lost, and that is all. fmt::print() throws
// then, which ends a program without exceptions. Thread: any; it waits for a reader that is slow.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <string>

namespace blockexport {

template <class... Values>
void print(std::FILE* file, fmt::format_string<Values...> format, Values&&... values) {
  const std::string text = fmt::format(format, std::forward<Values>(values)...);
  (void)std::fwrite(text.data(), 1, text.size(), file);
}

}  // namespace blockexport
