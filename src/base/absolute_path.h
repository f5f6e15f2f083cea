// absolute_path(): makes a relative path absolute, by the working directory of this moment.
//
// --daemonize changes to the root directory once everything is set up. So each path that the daemon opens, watches or
// removes later is made absolute when the daemon receives it; messages show the path as the user wrote it. Thread: any.
#pragma once

#include <string>
#include <string_view>

namespace blockexport {

// The current working directory joined with `path`. Returns `path` itself when it is absolute or empty, or when the
// working directory has no name (somebody removed it). Does not resolve ".." or links: the kernel does that at each
// later use.
std::string absolute_path(std::string_view path);

}  // namespace blockexport
