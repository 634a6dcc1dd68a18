"""safevla: make vision-language-action robot policies safe, and prove it."""

__version__ = "0.1.0"
