"""(Model, question, hardware) -> seconds and tokens a second, each with its band and with the parts that it
is made of."""
