// print(): writes formatted text to standard output or standard error, before the process serves clients.
//
// An error (the reader has gone, the disk is full) drops the text. fmt::print() would throw, which ends a program built
// without exceptions. Thread: any; a slow reader blocks it.
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
