"""scripts/kernels: other kernels, in an emulator."""
