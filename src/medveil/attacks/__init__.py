"""What an adversary does to protected images, by public interfaces only."""
