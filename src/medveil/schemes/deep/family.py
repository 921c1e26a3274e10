"""The schemes of this room; nothing here imports torch."""

MEMBERS = ("invertible",)
