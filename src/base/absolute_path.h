// absolute_path(): what a relative path names now, as a path that names it from everywhere.
//
// --daemonize goes to the root directory once everything is set up, so whatever is opened, watched or removed later is
// kept as an absolute path from the moment at which it enters. What is shown to people stays as they wrote it.
// Thread: any.
#pragma once

#include <string>
#include <string_view>

namespace blockexport {

// `path` behind the current working directory. An absolute path and an empty one stay what they are, and so does any
// path while the working directory has no name (it was removed). Nothing is resolved: ".." and links mean later what
// they mean then.
std::string absolute_path(std::string_view path);

}  // namespace blockexport
