"""The store of many processes: a Redis or Valkey that all of them reach."""
