"""The schemes of this room; nothing here imports torch."""

MEMBERS = ("backprop", "cyclegan", "invertible", "scramble_aae")
