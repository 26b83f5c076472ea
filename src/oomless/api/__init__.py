"""The Python interface: what the command line does, under the flags' names as keywords. One file a command,
loaded when asked for."""
