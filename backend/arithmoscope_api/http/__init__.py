"""HTTP middleware and helpers shared by all routes: access control, limits, logging, problem JSON."""
