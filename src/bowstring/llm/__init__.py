"""Open language models on the native kernels: numpy and the library, never torch."""
