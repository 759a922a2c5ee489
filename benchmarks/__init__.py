"""Verification and latency measurement of bundles. Knows how to judge a bundle, not how to make one."""
