# Writes a C++ file that carries compiled kernels and what a launch must know of them (kernels.h).
#
# As a script, `cmake -DOUTPUT=<file.cpp> -DAOT_DIR=<folder> -P embed.cmake`, or as a function:
#
#   crosscam_embed_kernels(OUTPUT <file.cpp> [AOT_DIR <folder>] [CUDA_KERNELS <file.json>
#                          FATBIN_DIR <folder>])
#
# AOT_DIR is an output folder of `python -m crosscam_kernels.aot`; its files are checked against the
# hashes of the manifest. CUDA_KERNELS lists the kernels of *.cu, whose fat binaries are in FATBIN_DIR.
cmake_minimum_required(VERSION 3.24)

# string(JSON) with a message that names the file.
function(_crosscam_json out file text)
  string(JSON value ERROR_VARIABLE problem GET "${text}" ${ARGN})
  if(problem)
    message(FATAL_ERROR "${file}: ${problem}")
  endif()
  set(${out} "${value}" PARENT_SCOPE)
endfunction()

function(_crosscam_json_length out file text)
  string(JSON value ERROR_VARIABLE problem LENGTH "${text}" ${ARGN})
  if(problem)
    message(FATAL_ERROR "${file}: ${problem}")
  endif()
  set(${out} "${value}" PARENT_SCOPE)
endfunction()

# Triton's spelling of a type to ParameterType.
function(_crosscam_type out file type)
  if(type MATCHES "^\\*")
    set(kind kPointer)
  elseif(type MATCHES "^[iu](8|16|32|64)$")
    set(kind "kInt${CMAKE_MATCH_1}")
  elseif(type STREQUAL "i1")
    set(kind kInt8)
  elseif(type MATCHES "^fp(32|64)$")
    set(kind "kFloat${CMAKE_MATCH_1}")
  else()
    message(FATAL_ERROR "${file}: parameters of type ${type} cannot be passed")
  endif()
  set(${out} "ParameterType::${kind}" PARENT_SCOPE)
endfunction()

function(_crosscam_parameters out file kernel)
  _crosscam_json_length(count "${file}" "${kernel}" parameters)
  set(list "")
  set(i 0)
  while(i LESS count)
    _crosscam_json(name "${file}" "${kernel}" parameters ${i} name)
    _crosscam_json(type "${file}" "${kernel}" parameters ${i} type)
    _crosscam_json(divisible "${file}" "${kernel}" parameters ${i} divisible_by)
    _crosscam_type(kind "${file}" "${type}")
    string(APPEND list "    {\"${name}\", ${kind}, ${divisible}},\n")
    math(EXPR i "${i} + 1")
  endwhile()
  set(${out} "${list}" PARENT_SCOPE)
endfunction()

# Assembly that puts a file into read-only data under `symbol`.
function(_crosscam_data out symbol path)
  set(${out} "
extern \"C\" const unsigned char ${symbol}[];
__asm__(
    \".pushsection .rodata,\\\"a\\\"\\n.balign 16\\n.hidden ${symbol}\\n.global ${symbol}\\n\"
    \"${symbol}:\\n.incbin \\\"${path}\\\"\\n.byte 0\\n.popsection\\n\");
" PARENT_SCOPE)
endfunction()

function(crosscam_embed_kernels)
  cmake_parse_arguments(PARSE_ARGV 0 ARG "" "OUTPUT;AOT_DIR;CUDA_KERNELS;FATBIN_DIR" "")
  foreach(path ARG_AOT_DIR ARG_CUDA_KERNELS ARG_FATBIN_DIR)
    if(${path})
      cmake_path(ABSOLUTE_PATH ${path} BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} NORMALIZE)
    endif()
  endforeach()
  set(data "")
  set(tables "")
  set(kernels "")
  set(number 0)
  set(files "")
  if(ARG_AOT_DIR)
    set(file "${ARG_AOT_DIR}/manifest.json")
    if(NOT EXISTS "${file}")
      message(FATAL_ERROR "${file} does not exist. What to do: make it with "
                          "python -m crosscam_kernels.aot --out ${ARG_AOT_DIR}")
    endif()
    file(READ "${file}" manifest)
    _crosscam_json(version "${file}" "${manifest}" version)
    if(NOT version EQUAL 1)
      message(FATAL_ERROR "${file} has version ${version}. Expected: 1. What to do: compile anew")
    endif()
    _crosscam_json_length(count "${file}" "${manifest}" kernels)
    set(k 0)
    while(k LESS count)
      _crosscam_json(kernel "${file}" "${manifest}" kernels ${k})
      _crosscam_json(name "${file}" "${kernel}" name)
      _crosscam_parameters(parameters "${file}" "${kernel}")
      _crosscam_json_length(binaries "${file}" "${kernel}" binaries)
      set(images "")
      set(b 0)
      while(b LESS binaries)
        foreach(key architecture target entry block_threads shared_bytes hidden_parameters
                global_scratch_bytes profile_scratch_bytes)
          _crosscam_json(${key} "${file}" "${kernel}" binaries ${b} ${key})
        endforeach()
        if(NOT global_scratch_bytes EQUAL 0 OR NOT profile_scratch_bytes EQUAL 0)
          message(FATAL_ERROR "${file}: kernel ${name} needs scratch memory, which nothing gives it")
        endif()
        string(REGEX REPLACE "^sm_" "" capability "${architecture}")
        set(exact false)
        set(parts cubin ptx)
        if(target MATCHES "a$")
          set(exact true)
          set(parts cubin)
        endif()
        set(ptx nullptr)
        foreach(part IN LISTS parts)
          _crosscam_json(path "${file}" "${kernel}" binaries ${b} ${part} path)
          _crosscam_json(expected "${file}" "${kernel}" binaries ${b} ${part} sha256)
          set(path "${ARG_AOT_DIR}/${path}")
          if(NOT EXISTS "${path}")
            message(FATAL_ERROR "${path} is in the manifest but does not exist")
          endif()
          file(SHA256 "${path}" found)
          if(NOT found STREQUAL expected)
            message(FATAL_ERROR "${path} is not what the manifest describes. What to do: compile anew")
          endif()
          list(APPEND files "${path}")
          set(symbol "crosscam_cuda_${part}_${number}_${b}")
          _crosscam_data(assembly ${symbol} "${path}")
          string(APPEND data "${assembly}")
          if(part STREQUAL "ptx")
            set(ptx "reinterpret_cast<const char*>(${symbol})")
          endif()
        endforeach()
        string(APPEND images "    {${capability}, ${exact}, \"${entry}\", ${block_threads}, "
               "${shared_bytes}, ${hidden_parameters},\n     crosscam_cuda_cubin_${number}_${b}, ${ptx}},\n")
        math(EXPR b "${b} + 1")
      endwhile()
      string(APPEND tables "const Parameter parameters_${number}[] = {\n${parameters}};\n"
                           "const Image images_${number}[] = {\n${images}};\n")
      string(APPEND kernels "    {\"${name}\", parameters_${number}, images_${number}},\n")
      math(EXPR number "${number} + 1")
      math(EXPR k "${k} + 1")
    endwhile()
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${file}")
  endif()
  if(ARG_CUDA_KERNELS)
    file(READ "${ARG_CUDA_KERNELS}" list)
    _crosscam_json_length(count "${ARG_CUDA_KERNELS}" "${list}" kernels)
    set(k 0)
    while(k LESS count)
      _crosscam_json(kernel "${ARG_CUDA_KERNELS}" "${list}" kernels ${k})
      foreach(key name source entry block_threads)
        _crosscam_json(${key} "${ARG_CUDA_KERNELS}" "${kernel}" ${key})
      endforeach()
      _crosscam_parameters(parameters "${ARG_CUDA_KERNELS}" "${kernel}")
      string(REGEX REPLACE "\\.cu$" ".fatbin" path "${ARG_FATBIN_DIR}/${source}")
      list(APPEND files "${path}")
      set(symbol "crosscam_cuda_fatbin_${number}")
      _crosscam_data(assembly ${symbol} "${path}")
      string(APPEND data "${assembly}")
      string(APPEND tables "const Parameter parameters_${number}[] = {\n${parameters}};\n"
             "const Image images_${number}[] = {\n"
             "    {0, false, \"${entry}\", ${block_threads}, 0, 0, ${symbol}, nullptr},\n};\n")
      string(APPEND kernels "    {\"${name}\", parameters_${number}, images_${number}},\n")
      math(EXPR number "${number} + 1")
      math(EXPR k "${k} + 1")
    endwhile()
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${ARG_CUDA_KERNELS}")
  endif()
  if(number EQUAL 0)
    message(FATAL_ERROR "there is no kernel to embed")
  endif()
  file(CONFIGURE OUTPUT "${ARG_OUTPUT}" @ONLY CONTENT
"// Written by embed.cmake.
#include \"cuda/kernels.h\"
@data@
namespace crosscam::cuda {
namespace {

@tables@
const Kernel kernels[] = {
@kernels@};

}  // namespace

std::span<const Kernel> embedded_kernels() { return kernels; }

}  // namespace crosscam::cuda
")
  # The compiler does not see what the assembler includes.
  set_source_files_properties("${ARG_OUTPUT}" PROPERTIES OBJECT_DEPENDS "${files}")
endfunction()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  crosscam_embed_kernels(OUTPUT "${OUTPUT}" AOT_DIR "${AOT_DIR}")
endif()
