# blockexport_schema(SCHEMA main.json [FEATURES features.json] PREFIX folder TYPES target [COMMANDS target])
# Compiles a schema with tools/qapic into ${CMAKE_BINARY_DIR}/gen/PREFIX, which is how #include names it, and makes
# libraries of what comes out: TYPES has types, visitors, events and introspection, COMMANDS has the command table and
# needs the handlers that it declares. Everything is made anew when the schema or the compiler changes.
function(blockexport_schema)
  cmake_parse_arguments(ARG "" "SCHEMA;FEATURES;PREFIX;TYPES;COMMANDS" "" ${ARGN})
  set(qapic ${CMAKE_SOURCE_DIR}/tools/qapic)
  set(output ${CMAKE_BINARY_DIR}/gen/${ARG_PREFIX})
  execute_process(COMMAND ${Python3_EXECUTABLE} -B ${qapic} ${ARG_SCHEMA} --list
                  WORKING_DIRECTORY ${CMAKE_SOURCE_DIR} OUTPUT_VARIABLE listing RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "the schema ${ARG_SCHEMA} cannot be read")
  endif()
  foreach(part inputs types commands)
    string(REGEX MATCH "(^|\n)${part}=([^\n]*)" line "${listing}")
    set(${part} ${CMAKE_MATCH_2})
  endforeach()
  list(TRANSFORM types PREPEND ${output}/)
  list(TRANSFORM commands PREPEND ${output}/)
  # A new include changes the list of files, which is known at configure time only.
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${inputs})
  file(GLOB_RECURSE compiler CONFIGURE_DEPENDS ${qapic}/*.py)
  set(features_option)
  if(ARG_FEATURES)
    set(features_option --features ${ARG_FEATURES})
  endif()
  add_custom_command(
    OUTPUT ${types} ${commands}
    COMMAND ${Python3_EXECUTABLE} -B ${qapic} ${ARG_SCHEMA} ${features_option}
            --output ${output} --prefix ${ARG_PREFIX}
    DEPENDS ${inputs} ${compiler} ${ARG_FEATURES}
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
    COMMENT "Compiling the schema ${ARG_SCHEMA}")

  add_library(${ARG_TYPES} STATIC ${types})
  target_link_libraries(${ARG_TYPES} PUBLIC blockexport_schema)
  if(ARG_COMMANDS)
    add_library(${ARG_COMMANDS} STATIC ${commands})
    target_link_libraries(${ARG_COMMANDS} PUBLIC ${ARG_TYPES})
  endif()
endfunction()
