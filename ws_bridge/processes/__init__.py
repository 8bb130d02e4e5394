"""The processes that serve: one, or several under a small one that watches over them."""
