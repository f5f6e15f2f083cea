// Property: a member of a struct of the schema as a property of an object, and the tables of them.
//
// Properties<T>::kAll lists the properties of an object that is made of a T; the schema compiler specialises it for the
// structs that the pragma 'property-lists' leads to (tools/qapic/README.md). Constant; thread: any.
#pragma once

#include <string_view>

namespace blockexport::schema {

struct Property {
  std::string_view name;
  // In the words of qom-list: "string", "bool", "int", the name of an enum or of a struct; of a list, that of its
  // elements.
  std::string_view type;
  bool is_secret = false;  // nobody may read it
};

template <class T>
struct Properties;

}  // namespace blockexport::schema
