"""See docs/ for an overview of safevla.constrain."""
