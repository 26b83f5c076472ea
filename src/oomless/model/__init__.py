"""What a network is made of: kinds of layers, the list of its tensors, and the readers that make one."""
