target_compile_definitions(skiff_app PRIVATE SKIFF_VERSION="${PROJECT_VERSION}")
