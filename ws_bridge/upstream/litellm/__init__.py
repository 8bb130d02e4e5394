"""Providers by way of litellm. Nothing else imports it."""
