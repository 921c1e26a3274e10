"""Three servers train and run a CNN on replicated shares, and learn nothing (paper 002, docs/mpc.md).

`local` starts three processes on this machine, `connect` reaches three servers that run `medveil mpc party`.
"""
