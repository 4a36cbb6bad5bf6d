# Where each outside library comes from: Debian packages only (third_party/README.md says what for).
find_package(Threads REQUIRED)

if(SKIFF_STATIC)
  set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
  add_link_options(-static)
endif()
add_link_options(-fuse-ld=mold)
add_compile_options(-Wall -Wextra -Werror -Wno-missing-field-initializers
                    "$<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized;-Wno-mismatched-new-delete>" -fpch-preprocess)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  add_compile_options(-ffunction-sections -fdata-sections)
  # GCC 12 sees overflows in inlined std::string code where there are none (GCC bugs 105329, 105651).
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict> -Wno-array-bounds -Wno-stringop-overflow
                      -Wno-stringop-overread)
  add_link_options(-Wl,--gc-sections)
endif()

function(skiff_dependency name)
  cmake_parse_arguments(ARG "" "" "LIBS;DEFINITIONS" ${ARGN})
  add_library(skiff_dep_${name} INTERFACE)
  add_library(skiff::${name} ALIAS skiff_dep_${name})
  target_compile_definitions(skiff_dep_${name} INTERFACE ${ARG_DEFINITIONS})
  foreach(lib IN LISTS ARG_LIBS)
    if(lib MATCHES "::")
      target_link_libraries(skiff_dep_${name} INTERFACE ${lib})
    else()
      find_library(SKIFF_LIB_${lib} NAMES ${lib} REQUIRED)
      target_link_libraries(skiff_dep_${name} INTERFACE ${SKIFF_LIB_${lib}})
    endif()
  endforeach()
endfunction()

skiff_dependency(asio LIBS Threads::Threads
  DEFINITIONS BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED
              BOOST_ALL_NO_LIB)
skiff_dependency(fmt)
skiff_dependency(tls LIBS ssl crypto)
skiff_dependency(zlib LIBS z)
skiff_dependency(seccomp LIBS seccomp)
skiff_dependency(rapidjson DEFINITIONS RAPIDJSON_HAS_STDSTRING=1)
skiff_dependency(yaml LIBS yaml)
skiff_dependency(sqlite LIBS sqlite3)
# The core alone, from the static archive: the shared one would bring libuv along.
find_library(SKIFF_LIB_raft NAMES libraft.a REQUIRED)
skiff_dependency(raft LIBS raft)
if(SKIFF_STATIC)
  skiff_dependency(archive LIBS archive lz4 zstd acl attr xml2 icui18n icuuc icudata lzma bz2 nettle z crypto)
else()
  skiff_dependency(archive LIBS archive zstd z)
endif()
