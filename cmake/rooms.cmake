# skiff_room(NAME [SMALL] ROOMS <rooms it may see> LIBS <outside libraries>)
# SMALL: a room that waits for others most of the time; its code is a tenth smaller with -O1. (-Os would
# not do: the precompiled header cannot be used with it.)
# A room is a static library of src/NAME/**.cpp. Rooms it stands on are linked PUBLIC, so that their doors
# can be included; a room has nothing else to include. With no source yet it does not exist.
define_property(GLOBAL PROPERTY SKIFF_ROOMS BRIEF_DOCS "rooms that exist")

function(skiff_room name)
  cmake_parse_arguments(ARG "SMALL" "" "ROOMS;LIBS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cpp)
  file(GLOB_RECURSE c_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.c)
  list(FILTER sources EXCLUDE REGEX "src/app/main\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "/tool/")  # programs that run at build time
  if(NOT sources)
    return()
  endif()
  add_library(skiff_${name} STATIC ${sources})
  target_include_directories(skiff_${name} PUBLIC ${CMAKE_SOURCE_DIR}/include
                             PRIVATE ${CMAKE_SOURCE_DIR}/src/${name})
  target_link_libraries(skiff_${name} PUBLIC ${ARG_LIBS})
  if(ARG_SMALL)
    target_compile_options(skiff_${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  endif()
  foreach(room IN LISTS ARG_ROOMS)
    if(TARGET skiff_${room})
      target_link_libraries(skiff_${name} PUBLIC skiff_${room})
    endif()
  endforeach()
  if(c_sources)
    # By themselves: the precompiled header is C++.
    add_library(skiff_${name}_c OBJECT ${c_sources})
    target_include_directories(skiff_${name}_c PRIVATE ${CMAKE_SOURCE_DIR}/src/${name})
    target_sources(skiff_${name} PRIVATE $<TARGET_OBJECTS:skiff_${name}_c>)
  endif()
  if(name STREQUAL "base")
    target_precompile_headers(skiff_base PRIVATE ${CMAKE_SOURCE_DIR}/src/base/pch.hpp)
  else()
    target_precompile_headers(skiff_${name} REUSE_FROM skiff_base)
  endif()
  if(EXISTS ${CMAKE_SOURCE_DIR}/src/${name}/room.cmake)
    include(${CMAKE_SOURCE_DIR}/src/${name}/room.cmake)  # generated sources and the like
  endif()
  set_property(GLOBAL APPEND PROPERTY SKIFF_ROOMS ${name})
endfunction()
