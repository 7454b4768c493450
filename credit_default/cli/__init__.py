"""The command `credit-default`: parse, call, print."""
