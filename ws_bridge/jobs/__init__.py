"""A response being generated: what is asked, what is published, what is stored."""
