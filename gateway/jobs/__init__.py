"""Jobs: submitted studies and what becomes of them."""
