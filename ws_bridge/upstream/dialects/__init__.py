"""How families of providers are spoken to: what is sent, and how their streams are read."""
