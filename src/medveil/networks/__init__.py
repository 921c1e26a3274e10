"""Network architectures as data: read by recognition (torch) and by mpc (shares)."""
