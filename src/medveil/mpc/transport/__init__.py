"""How parties exchange words: frames with bounds, counters, a link model; in memory or over TLS 1.3."""
