# The schema files become C++ tables. Their order is the order of discovery.
set(schema_groups meta core apiregistration apps events authentication authorization autoscaling batch
    certificates networking policy rbac storage admissionregistration apiextensions scheduling coordination
    node discovery flowcontrol resource)
list(TRANSFORM schema_groups PREPEND ${CMAKE_SOURCE_DIR}/src/api/schema/ OUTPUT_VARIABLE schema_files)
list(TRANSFORM schema_files APPEND .schema)

add_executable(skiff_schema_compiler src/api/tool/schema_compiler.cpp src/api/tool/schema_parser.cpp
               src/api/tool/schema_generator.cpp)
set(schema_tables ${CMAKE_BINARY_DIR}/generated/api/schema_tables.cpp)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/generated/api)
add_custom_command(OUTPUT ${schema_tables}
  COMMAND skiff_schema_compiler ${schema_tables} ${schema_files}
  DEPENDS skiff_schema_compiler ${schema_files}
  COMMENT "Compiling the API schema")
target_sources(skiff_api PRIVATE ${schema_tables})
