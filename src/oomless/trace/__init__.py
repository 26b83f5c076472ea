"""Run the real model without memory, record every allocation, replay it in a simulated allocator."""
