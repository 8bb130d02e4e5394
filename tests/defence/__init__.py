"""What attackers, broken clients and broken providers send."""
