# Installs the library so that find_package(logsum) and `pkg-config logsum` find it.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

get_target_property(type logsum TYPE)
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/logsum)
install(TARGETS logsum EXPORT logsum-targets COMPONENT cpp)
install(DIRECTORY include/logsum DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT cpp
        FILES_MATCHING PATTERN "*.hpp")
install(EXPORT logsum-targets NAMESPACE logsum:: DESTINATION ${config_dir} COMPONENT cpp)

configure_package_config_file(cmake/logsum-config.cmake.in logsum-config.cmake
                              INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(logsum-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/logsum-config.cmake
              ${PROJECT_BINARY_DIR}/logsum-config-version.cmake
        DESTINATION ${config_dir} COMPONENT cpp)

# A static library brings what it links to; a shared one keeps that to itself.
set(pc_requires "")
set(pc_libs "")
if(type STREQUAL "STATIC_LIBRARY")
  set(pc_requires libhwy)
  set(pc_libs ${CMAKE_THREAD_LIBS_INIT})
  if(LOGSUM_USE_OPENMP)
    string(APPEND pc_libs " ${OpenMP_CXX_FLAGS}")
  endif()
endif()
# Relative to the file itself, so that the installed tree can be moved.
file(RELATIVE_PATH pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/logsum.pc.in logsum.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/logsum.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
        COMPONENT cpp)
