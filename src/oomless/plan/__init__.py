"""Which hardware and setting, for how much money, started by which command."""
