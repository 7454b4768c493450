"""The command `credit-default`: parse arguments, call the package, print results."""
