"""What runs in the process of one candidate of `bench`. It measures itself, and compares itself with nobody."""
