# blockexport_component(NAME SOURCES a.cc ... LINK other ... TESTS a_test.cc ...)
# One folder of src/ = one static library blockexport_NAME plus, if it has tests, one program NAME_test.
# Tests are discovered one by one at ctest time, so `ctest -R 'json.*'` works and cases run in parallel.
# TEST_BACKENDS: the whole program runs once for each, told by BLOCKEXPORT_TEST_BACKEND (block/testing/reactor_test.h).
function(blockexport_component name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK;PRIVATE_LINK;TESTS;TEST_LINK;TEST_BACKENDS" ${ARGN})
  set(target blockexport_${name})
  if(ARG_SOURCES)
    add_library(${target} STATIC ${ARG_SOURCES})
    set(scope PUBLIC)
  else()
    add_library(${target} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(${target} ${scope} ${CMAKE_SOURCE_DIR}/src ${CMAKE_BINARY_DIR}/gen)
  target_link_libraries(${target} ${scope} ${ARG_LINK})
  if(ARG_PRIVATE_LINK)
    target_link_libraries(${target} PRIVATE ${ARG_PRIVATE_LINK})
  endif()
  if(ARG_TESTS AND BLOCKEXPORT_TESTS)
    add_executable(${name}_test ${ARG_TESTS})
    target_link_libraries(${name}_test PRIVATE ${target} ${ARG_TEST_LINK} GTest::gtest GTest::gtest_main)
    include(GoogleTest)
    if(NOT ARG_TEST_BACKENDS)
      gtest_discover_tests(${name}_test TEST_PREFIX "${name}." DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
                           PROPERTIES TIMEOUT 120)
    endif()
    foreach(backend ${ARG_TEST_BACKENDS})
      gtest_discover_tests(${name}_test TEST_PREFIX "${name}.${backend}." DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
                           TEST_LIST ${name}_${backend}_tests
                           PROPERTIES TIMEOUT 120 ENVIRONMENT BLOCKEXPORT_TEST_BACKEND=${backend})
    endforeach()
  endif()
endfunction()

# blockexport_fuzzer(NAME SOURCES file.cc ... LINK lib ...): built only with BLOCKEXPORT_FUZZ; its seeds live in
# fuzz/seeds/NAME/.
function(blockexport_fuzzer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  if(NOT BLOCKEXPORT_FUZZ)
    return()
  endif()
  add_executable(fuzz_${name} ${ARG_SOURCES})
  target_link_libraries(fuzz_${name} PRIVATE ${ARG_LINK})
  target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
endfunction()
