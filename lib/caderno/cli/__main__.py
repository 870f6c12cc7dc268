"""`python -m caderno.cli` is `caderno`."""

from caderno.cli import main

main()
