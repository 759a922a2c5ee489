"""One file per inference library; vendor objects never leave their file."""
