"""Image -> parts -> image: one room a scheme, none importing another."""
