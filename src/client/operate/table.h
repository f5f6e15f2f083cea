// table_text(): rows of text in aligned columns, for a person. A pure function; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace blockexport::operate {

using TableRow = std::vector<std::string>;

// A line for each row, each with its end. `alignment`: '<' or '>' for each column; rows have as many cells. Two blanks
// separate columns, and no line ends with a blank. Width counts UTF-8 characters.
std::string table_text(const std::vector<TableRow>& rows, std::string_view alignment);

}  // namespace blockexport::operate
