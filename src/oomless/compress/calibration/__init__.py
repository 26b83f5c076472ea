"""Where nearest rounding is not enough: codes chosen by what each layer is fed with, layer by layer."""
