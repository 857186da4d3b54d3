"""Runtime: everything about running a stage that is the same for all of them."""
