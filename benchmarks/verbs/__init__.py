"""The verbs of the command line, by what they are for: parse, call one function, print; what is heavy loads inside."""
