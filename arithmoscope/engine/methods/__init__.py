"""The methods, one file each; no method imports another."""
