"""NVIDIA GPUs: the driver, plans of TensorRT, page-locked memory, the preprocessing kernel, one graph for all."""
