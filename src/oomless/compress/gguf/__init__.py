"""GGUF: one file that llama.cpp loads, made of a folder of safetensors: names, order of rows, metadata and
vocabulary as llama.cpp's own converter has them."""
