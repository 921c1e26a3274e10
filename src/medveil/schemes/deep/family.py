"""The schemes of this room; nothing here imports torch."""

MEMBERS = ("backprop", "invertible", "scramble_aae")
