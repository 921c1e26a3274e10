"""medveil: send medical images to clouds you do not trust, and still store, verify, search, train and diagnose."""
