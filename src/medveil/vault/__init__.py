"""The repository over several stores: placement, manifests, freshness, scrub and repair."""
