"""See docs/ for an overview of safevla.safety."""
