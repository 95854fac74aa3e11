"""`python -m runtime` is the `leadtime` command."""

from runtime.cli import main

main()
