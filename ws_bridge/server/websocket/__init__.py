"""The sockets on `/v1/responses`, and what goes out to them."""
