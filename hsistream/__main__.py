"""Run the command line with ``python -m hsistream``."""

from hsistream.cli.app import main

main()
