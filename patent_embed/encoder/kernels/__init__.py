"""What makes the encoder's training fast: Triton kernels, CUDA graphs, and dropout for a CPU."""
