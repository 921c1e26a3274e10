"""The protocols that a program can run on: three servers on replicated shares, or plain fixed point."""
