"""What trains models: Megatron-LM as its arguments say it, and the graphs of a layer's step that every
framework runs."""
