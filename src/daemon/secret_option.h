// Locates the secret in an option of the command line, so that messages and the list of processes do not show it. A
// pure function; main thread.
#pragma once

#include <string_view>

namespace blockexport::daemon {

// The secret's part of an argument of --object such as "secret,id=x,data=HERE"; empty when there is none. In the JSON
// form it is the whole argument, since the JSON is not parsed yet.
std::string_view secret_in_object_option(std::string_view argument);

}  // namespace blockexport::daemon
