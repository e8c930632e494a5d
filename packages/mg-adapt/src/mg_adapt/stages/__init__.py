"""The stages train, predict and adapt: one function each, called by the command line and by ``mg run``."""
