"""One file a method; no method imports another."""
