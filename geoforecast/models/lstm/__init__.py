"""What the ConvLSTM layer computes on CPUs: its cell as kernels, and its sequence by hand."""
