"""`ws-bridge`: serve, chat, check."""


def main() -> int:
    """Run the command line."""
    return 0
