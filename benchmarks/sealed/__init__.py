"""Speed, size, memory and robustness of the default scheme, beside age, rclone crypt and restic."""
