"""See docs/ for an overview of safevla.assure."""
