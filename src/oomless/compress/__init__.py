"""What makes a model smaller for real: weights, activations, sparsity and gradients, each with its bytes and
its quality before and after.

    weights       codecs/ (bytes, reader, writer and config entry of a stored weight), checkpoint/ (from one
                  folder to another, streamed in row blocks), calibration/ and mix/ (where nearest rounding is
                  not enough)
    activations   what a training step keeps: packed, offloaded, partitioned or computed again
    sparsity      2:4 and dynamic sparse training
    gradients     what data-parallel ranks and federated clients send each other
"""
