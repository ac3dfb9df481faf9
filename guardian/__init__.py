"""An open engine that watches a whole ecosystem, says how threatened it is, and can prove every word of it."""
