"""Half of the weights left out: N of M in each row by rule, or a mask that moves while a model trains."""
